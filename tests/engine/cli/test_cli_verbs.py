"""The queue's and the runs' verbs from a shell."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.cli.main import main
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.run import list_runs
from engine.workspace import Workspace

Shell = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def dailies(capsys: pytest.CaptureFixture[str]) -> Shell:
    """`dailies("jobs", "ls")`: the command's JSON; `fails=...`: what its complaint must hold."""

    def run(*words: str, fails: str = "") -> Any:
        code = main([*words, *([] if fails else ["--json"])])
        said = capsys.readouterr()
        assert code == (2 if fails else 0), said.err
        if fails:
            assert fails in said.err
            return None
        return json.loads(said.out)

    return run


def queued(dailies: Shell) -> list[str]:
    jobs = dailies("jobs", "ls", "--status", "queued")
    return [job["id"] for job in sorted(jobs, key=lambda job: job["position"])]


def test_jobs_are_moved_paused_and_cancelled(dailies: Shell, workspace: Workspace) -> None:
    ids = [dailies("train", "mini_grpo", "--queue")["id"] for _ in range(3)]
    assert dailies("jobs", "move", ids[2], "1")["position"] == 1
    assert queued(dailies) == [ids[2], ids[0], ids[1]]
    assert dailies("jobs", "pause") == {"paused": True} and workspace.pause_flag.exists()
    assert dailies("jobs", "resume") == {"paused": False} and not workspace.pause_flag.exists()
    dailies("jobs", "cancel", fails="Name one job to cancel, or use --pending or --all-but-current")
    dailies("jobs", "cancel", ids[0], "--pending", fails="Name one job")
    assert dailies("jobs", "kill", ids[0])["status"] == "cancelled"
    assert {job["id"] for job in dailies("jobs", "cancel", "--pending")} == {ids[1], ids[2]}
    dailies("jobs", "move", ids[1], "1", fails="cannot be moved: it is cancelled")


def test_a_run_is_cloned_with_changes_and_extended(dailies: Shell, workspace: Workspace) -> None:
    dailies("train", "mini_grpo", "--set", "settings.max_steps=5", "--queue")
    [first] = list_runs(workspace)
    dailies("clone", first.id, "--set", "settings.learning_rate=1e-5", "--queue")
    copied = next(run for run in list_runs(workspace) if run.id != first.id).preset().settings
    assert copied == {**first.preset().settings, "learning_rate": 1e-5}
    dailies("resume", first.id, "--queue", fails=f"The run {first.id} is queued already")
    measured = dailies("evaluate", first.id, "--num-prompts", "3", "--queue")
    assert (measured["kind"], measured["config"]["run"], measured["config"]["num_prompts"]) == ("evaluate", first.id, 3)
    dailies("extend", first.id, "10", fails="cannot be extended: it is queued")
    dailies("jobs", "cancel", "--pending")
    (first.checkpoints / f"{CHECKPOINT}5").mkdir(parents=True)
    (first.checkpoints / f"{CHECKPOINT}5" / "trainer_state.json").write_text("{}")
    assert dailies("extend", first.id, "1000")["kind"] == "train"
    assert first.preset().settings["max_steps"] == 1005


def test_a_run_starts_from_an_adapter_that_is_there(dailies: Shell, workspace: Workspace) -> None:
    dailies("train", "mini_grpo", "--start", "nothing", "--queue", fails="Unknown adapter 'nothing'")
    assert list_runs(workspace) == []


def test_an_unknown_run_is_refused_before_an_evaluation_is_queued(dailies: Shell) -> None:
    dailies("evaluate", "nothing", "--queue", fails="There is no run 'nothing'")
    assert queued(dailies) == []
