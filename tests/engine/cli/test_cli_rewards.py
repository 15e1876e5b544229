"""`dailies rewards`: the list, and what a matrix that cannot be made says."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.cli.main import main
from engine.video.writer import write_lossless
from rewards import REWARDS
from rewards.clip import Clip
from rewards.matrix.reference_clips import read_reference
from rewards.matrix.rows import HACKS
from rewards.metrics.fvd_lite import frechet_of_sets

BLANK = """
title = "Blank"
[weights]
aesthetic = 1.0
[gates]
motion = 0.0
liveness = 0.0
sharpness = 0.0
cut = 0.0
loop = 0.0
"""


def test_the_list_has_every_reward_with_its_question(capsys):
    assert main(["rewards", "ls", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["key"] for entry in found] == list(REWARDS)
    assert all(entry["question"].endswith("?") for entry in found)


def test_the_list_ends_with_the_wrong_declarations(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAILIES_WORKSPACE", str(tmp_path))
    declarations = tmp_path / "saved" / "external_rewards"
    declarations.mkdir(parents=True)
    (declarations / "judge.toml").write_text('title = "Judge"\n')
    assert main(["rewards", "ls"]) == 0
    captured = capsys.readouterr()
    assert "judge" not in captured.out and captured.err.startswith("The external reward judge.toml is wrong")


def test_an_unknown_damage_is_one_sentence(capsys):
    assert main(["rewards", "matrix", "--domain", "mini", "--row", "melt"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("dailies: The matrix has no row 'melt'; it has frozen,")


def test_an_attack_that_beats_the_honest_clip_is_told_with_its_margin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))
    (tmp_path / "presets" / "rewards").mkdir(parents=True)
    (tmp_path / "presets" / "rewards" / "blank.toml").write_text(BLANK)
    for name, level in (("dark", 20), ("light", 60)):
        write_lossless(tmp_path / f"{name}.mkv", np.full((3, 32, 32, 3), level, np.uint8), 8.0)
    command = ["rewards", "attack", "--clips", str(tmp_path), "--frames", "3", "--mix", "blank"]
    assert main([*command, "--json"]) == 2
    captured = capsys.readouterr()
    cells = {cell["row"]: cell for cell in json.loads(captured.out)[0]["cells"]}
    assert cells.keys() == set(HACKS) and {cell["column"] for cell in cells.values()} == {"total.blank"}
    beaten = {row for row, cell in cells.items() if not cell["holds"]}
    assert beaten and "clips: under" in captured.err and "total.blank must fall" in captured.err
    assert main(command) == 2
    table = capsys.readouterr().out
    assert table.startswith("The 2 clips of `clips`:") and all(
        f"- `{row}`, `total.blank`: +" in table for row in beaten
    )


def test_an_attack_with_a_mix_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", "attack", "--mix", "motoin"]) == 2
    assert "motion" in capsys.readouterr().err


def test_the_distance_between_two_folders_of_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [clip for clip in read_reference("mini").values() if clip.num_frames >= 16][:4]
    sets = [
        [Clip(frames=np.ascontiguousarray(c.frames[:17]), fps=8.0) for c in some] for some in (clips[:2], clips[2:])
    ]
    for name, some in zip(("a", "b"), sets, strict=True):
        (tmp_path / name).mkdir()
        for number, clip in enumerate(some):
            write_lossless(tmp_path / name / f"{number}.mkv", clip.frames, clip.fps)
    folders = [str(tmp_path / name) for name in ("a", "b")]
    assert main(["rewards", "frechet", *folders, "--backend", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = frechet_of_sets(*sets, backend="mini")
    assert found["distance"] == pytest.approx(wanted.distance) and wanted.distance > 0
    assert (found["num_first"], found["num_second"], found["backend"]) == (2, 2, "mini")
    assert main(["rewards", "frechet", folders[0], str(tmp_path / "c")]) == 2
    assert "is not a folder of videos" in capsys.readouterr().err
