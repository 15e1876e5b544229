"""One damaged file of many: lists show all the others, and name the damaged one."""

import json
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.workspace import Workspace

RUNS = 3


@pytest.fixture
def runs(workspace: Workspace) -> list[Run]:
    made = [Run.create(workspace, load_train_preset("mini_nft")) for _ in range(RUNS)]
    for run in made:
        run.append_metrics(2, {"loss": 1.0, "of": 4})
    return made


def test_runs_ls_names_a_damaged_preset(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    runs[1].resolved.write_bytes(b'{"key": \xff')
    assert main(["runs", "ls"]) == 0
    told = capsys.readouterr()
    assert all(run.id in told.out for run in runs)
    assert told.out.count("2/4") == RUNS
    assert runs[1].id in told.err and "resolved.json is damaged" in told.err
    assert runs[0].id not in told.err
    assert main(["runs", "ls", "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    assert [len(rows[run.id]["problems"]) for run in runs] == [0, 1, 0]


def test_runs_ls_names_damaged_metrics(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    for run, line in zip(runs, (b'{"step": 1e400}\n', b"\xff\n", b""), strict=True):
        with run.metrics_file.open("ab") as file:
            file.write(line)
    assert main(["runs", "ls"]) == 0
    told = capsys.readouterr()
    assert told.out.count("2/4") == RUNS
    assert all(run.id in told.err for run in runs[:2]) and runs[2].id not in told.err


def test_runs_ls_names_a_checkpoint_that_could_not_be_used(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    (runs[1].checkpoints / "checkpoint-2").mkdir(parents=True)
    assert runs[1].series.newest_whole() is None
    assert main(["runs", "ls"]) == 0
    told = capsys.readouterr()
    sentence = "The checkpoint of step 2 was damaged (trainer_state.json is missing): the run restarted."
    assert told.err == f"{runs[1].id}: {sentence}\n"
    assert main(["runs", "ls", "--json"]) == 0
    notes = {row["run"]: row["note"] for row in json.loads(capsys.readouterr().out)}
    assert notes == {runs[0].id: "", runs[1].id: sentence, runs[2].id: ""}


def test_models_ls_names_a_damaged_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bad.toml").write_bytes(b"title = \xff")
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path))
    assert main(["models", "ls"]) == 0
    told = capsys.readouterr()
    assert "mini" in told.out and "bad cannot be used" in told.err
    assert main(["models", "ls", "--json"]) == 0
    assert {"mini", "bad"} <= {row["key"] for row in json.loads(capsys.readouterr().out)}
    assert main(["presets", "ls"]) == 0
    assert "unusable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("settings.seed=5000000000", "seed = 5000000000 is invalid: it must be 0 to 4,294,967,295."),
        ("settings.max_steps=many", "max_steps must be a whole number, but got 'many'."),
        ("settings.learning_rate=fast", "learning_rate must be a number, but got 'fast'."),
        ("settings.learning_rate=NaN", "learning_rate = nan is invalid"),
        ("settings.num_frames=-1", "num_frames = -1 is invalid"),
        ("num_frames=-1", "num_frames = -1 is invalid"),
        ("alarms.drift=Infinity", "finite"),
    ],
)
def test_a_run_that_cannot_work_is_one_sentence_and_leaves_nothing(
    workspace: Workspace, setting: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "mini_nft", "--set", setting]) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.startswith("dailies: ") and told.count("\n") == 1
    assert "resume" not in told
    assert not list(workspace.runs.glob("*"))


@pytest.mark.timeout(300)
def test_what_only_the_trainer_can_refuse_leaves_nothing_either(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    """`settings.ddp_timeout` is a setting of the library that the page does not list."""
    assert main(["train", "mini_nft", "--set", "settings.ddp_timeout=soon"]) == 2
    told = capfd.readouterr().err
    assert "ddp_timeout = 'soon' is not valid: it must be of type int" in told
    assert "resume" not in told and "its folder was removed" in told
    assert not list(workspace.runs.glob("*"))
