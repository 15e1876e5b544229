"""`dailies rewards`: the list, and what a matrix that cannot be made says."""

import json

from engine.cli import main
from rewards import REWARDS


def test_the_list_has_every_reward_with_its_question(capsys):
    assert main(["rewards", "ls", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["key"] for entry in found] == list(REWARDS)
    assert all(entry["question"].endswith("?") for entry in found)


def test_an_unknown_damage_is_one_sentence(capsys):
    assert main(["rewards", "matrix", "--domain", "mini", "--row", "melt"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("dailies: The matrix has no row 'melt'; it has frozen,")
