"""Python rewards: real functions of a user's file, in their own process."""

import os

import numpy as np
import pytest

from rewards import Clip, Mix
from rewards.external.clients import ClipScores
from rewards.external.declaration import PythonFunction
from rewards.external.python_client import PythonClient
from rewards.suite import RewardSuite

FILE = """
import os, sys, time
import numpy as np

def bright(prompts, completions, fps, **_):
    print("a line on standard output")
    return [float(frames.mean()) / 255 for frames in completions]

def array(prompts, completions, **_):
    return np.linspace(0, 1, len(prompts))

def tensor(prompts, completions, **_):
    import torch
    return torch.full((len(prompts),), 0.25)

def parts(prompts, completions, **_):
    return {"vq": [0.5] * len(prompts), "mq": [None] * len(prompts)}

def raises(prompts, completions, **_):
    raise ValueError("no such colour")

def not_a_number(prompts, completions, **_):
    return [float("nan")] * len(prompts)

def short(prompts, completions, **_):
    return [0.5]

class Score(float):
    def __reduce__(self):
        return Score, (float(self),)

def dicts(prompts, completions, **_):
    return {"a": {"x": [0.3]}}

def own_numbers(prompts, completions, **_):
    return [Score(0.5)] * len(prompts)

class Answer:
    pass

def own_objects(prompts, completions, **_):
    return [Answer()] * len(prompts)

def nothing(prompts, completions, **_):
    return None

def sleeps(prompts, completions, **_):
    time.sleep(60)

def exits(prompts, completions, **_):
    os._exit(7)

def changes(prompts, completions, **_):
    os.environ["CHANGED"] = "1"
    os.chdir("/")
    np.random.seed(0)
    for frames in completions:
        frames[:] = 0
    return [0.5] * len(prompts)
"""


@pytest.fixture
def client(tmp_path):
    """Return a function that opens a client for a function of the file."""
    (tmp_path / "mine.py").write_text(FILE)
    opened = []

    def open_client(function: str, names=("",), timeout_s=30.0) -> PythonClient:
        opened.append(PythonClient("mine", PythonFunction(function=function, timeout_s=timeout_s), tmp_path, names))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def clips(count: int) -> list[Clip]:
    frames = [np.full((9, 16, 16, 3), 10 * number, np.uint8) for number in range(count)]
    return [Clip(frames=row, fps=8, prompt="x") for row in frames]


def test_values_of_lists_arrays_and_tensors(client, capfd):
    found = [answer.scores[""] for answer in client("mine.py:bright").score(clips(11))]
    assert found == pytest.approx([10 * number / 255 for number in range(11)])
    assert "a line on standard output" in capfd.readouterr().err, "what it prints is no part of its answer"
    assert [answer.scores[""] for answer in client("mine.py:array").score(clips(3))] == [0, 0.5, 1]
    assert [answer.scores[""] for answer in client("mine.py:own_numbers").score(clips(2))] == [0.5, 0.5]
    assert [answer.scores[""] for answer in client("mine.py:tensor").score(clips(2))] == [0.25, 0.25]


def test_sub_scores(client):
    answers = client("mine.py:parts", names=("vq", "mq")).score(clips(2))
    assert answers[0].scores == {"vq": 0.5, "mq": None} and "no score" in answers[0].reason


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raises", r"raised ValueError: no such colour \(mine.py, line \d+\)"),
        ("not_a_number", "nan, which is no finite number"),
        ("short", "1 values for 2 clips"),
        ("dicts", "for a instead of a list of numbers"),
        ("nothing", "raised TypeError"),
        ("own_objects", "raised TypeError: Object of type Answer is not JSON serializable"),
        ("exits", "exit code 7"),
        ("missing", "cannot be loaded: AttributeError"),
    ],
)
def test_failures_are_answers_with_errors(client, function, message):
    answers = client(f"mine.py:{function}").score(clips(2))
    assert len(answers) == 2 and not answers[0].scores
    _match(answers[0], message)


def _match(answer: ClipScores, message: str) -> None:
    import re

    assert re.search(message, answer.error), answer.error


def test_missing_imports_and_files_name_the_cause(client, tmp_path):
    (tmp_path / "needs.py").write_text("import not_installed_anywhere\ndef f(**_): ...")
    _match(client("needs.py:f").score(clips(1))[0], "ModuleNotFoundError: No module named 'not_installed_anywhere'")
    _match(client("gone.py:f").score(clips(1))[0], "FileNotFoundError")
    _match(client("not_installed_anywhere:f").score(clips(1))[0], "ModuleNotFoundError")


def test_a_function_that_hangs_is_killed_and_started_again(client):
    mine = client("mine.py:sleeps", timeout_s=0.5)
    _match(mine.score(clips(1))[0], r"no answer within 0.5 s; its process was killed")
    assert mine._process is None
    _match(mine.score(clips(1))[0], "no answer within 0.5 s")


def test_an_edited_file_is_not_taken_by_a_client_in_use(client, tmp_path):
    one = client("mine.py:exits")
    one.score(clips(1))
    (tmp_path / "mine.py").write_text("def exits(prompts, **_):\n    return [0.75] * len(prompts)\n")
    _match(one.score(clips(1))[0], "has changed since the start of this work: start it again to use it")


def test_the_function_cannot_change_this_process(client):
    group, folder = clips(2), os.getcwd()
    state = np.random.get_state()[1].copy()
    assert [answer.scores[""] for answer in client("mine.py:changes").score(group)] == [0.5, 0.5]
    assert "CHANGED" not in os.environ and os.getcwd() == folder
    assert np.array_equal(np.random.get_state()[1], state)
    assert group[1].frames.mean() == 10


def test_a_python_reward_counts_in_a_mix(declarations, tmp_path):
    (tmp_path / "external_rewards" / "mine.py").write_text(FILE)
    declarations("mine", 'title = "Mine"\n[python]\nfunction = "mine.py:bright"\n')
    suite = RewardSuite(Mix(key="m", title="M", weights={"mine": 1.0}, calibration="mini"))
    reports = suite.score_group(clips(3))
    assert [report.parts["mine"] for report in reports] == pytest.approx([0, 10 / 255, 20 / 255])
    assert reports[0].results["mine"].backend == "mine.py:bright"
