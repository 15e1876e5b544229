"""`dailies runs ls`, `runs show`, `preflight` and `system`: what the page tells, from a shell."""

import json
from typing import Any

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.execution.attempt import Attempt, ProcessSpec, keep_process
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import submit_run
from engine.jobs.spec import JobProgress
from engine.process_identity import ProcessIdentity
from engine.runs.run import Run
from engine.storage.library import Library
from engine.training.exit_codes import REFUSED
from engine.training.preflight.checks import save
from engine.training.preflight.preflight_check import PreflightCheck

WHY = "The run was not started. The reward is constant."
SMALL = ("num_frames=9", "num_steps=2", "num_generations=2", "per_device_train_batch_size=2")


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def refused(store: Library) -> Run:
    """A run whose job failed because of its settings."""
    run = Run.create(store.workspace, load_train_preset("mini_nft"))
    save(
        [
            PreflightCheck(name="frames", level="ok", sentence="Nine frames are fine."),
            PreflightCheck(name="groups", level="stop", sentence="In 100% of the groups all clips earn the same."),
        ],
        run,
    )
    queue = JobQueue(store)
    submit_run(queue, run)
    attempt = Attempt.begin(run.folder, ProcessSpec(argv=(), env={}, cwd=""))
    keep_process(run.folder, {"id": attempt.id})
    attempt.end(REFUSED)
    job = queue.claim(ProcessIdentity.current())
    assert job is not None
    queue.finish(job.id, "failed", error=WHY)
    return run


def test_the_list_has_the_states_of_the_page_and_the_last_reward(
    store: Library, refused: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Run.create(store.workspace, load_train_preset("mini_nft"))
    other.append_metrics(1, {"reward": 0.25, "of": 4})
    other.append_metrics(2, {"reward": 0.5, "of": 4})
    other.append_metrics(3, {"loss": 1.0, "of": 4})
    rows = {row["run"]: row for row in as_json(capsys, "runs", "ls")}
    assert (rows[refused.id]["state"], rows[refused.id]["reward"]) == ("refused", None)
    assert (rows[other.id]["state"], rows[other.id]["reward"], rows[other.id]["step"]) == ("stopped", 0.5, "3/4")
    assert main(["runs", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "preset", "state", "step", "reward"] and any("0.500" in line for line in lines)


def test_a_refused_run_tells_why(refused: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", refused.id]) == 0
    told = capsys.readouterr().out
    assert "state: refused" in told and f"problem: {WHY}" in told
    assert "Groups with equal rewards" in told and "all clips earn the same" in told
    assert "Nine frames are fine" not in told and "dailies resume" not in told
    found = as_json(capsys, "runs", "show", refused.id)
    assert [row["name"] for row in found["preflight"]] == ["frames", "groups"] and found["problem"] == WHY
    assert main(["runs", "show", "nothing"]) == 2


@pytest.mark.timeout(600)
def test_preflight_checks_a_preset_and_keeps_nothing(store: Library, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for setting in (*SMALL, "gradient_accumulation_steps=1") for word in ("--set", setting)]
    verdicts = as_json(capsys, "preflight", "mini_nft", *sets)
    assert {"memory", "frames", "rewards"} <= {row["name"] for row in verdicts}
    assert not list(store.workspace.runs.glob("*"))


@pytest.mark.parametrize(("level", "code"), [("warning", 0), ("stop", 2)])
def test_a_preflight_that_would_refuse_the_run_ends_with_an_error(
    store: Library, level: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def checked(*_: object) -> Any:
        yield JobProgress(phase="preflight")
        return {"verdicts": [{"name": "clip_range", "level": level, "sentence": "It never acts."}]}

    monkeypatch.setattr("engine.jobs.handlers.preflight.run_preflight", checked)
    assert main(["preflight", "mini_nft"]) == code
    said = capsys.readouterr()
    assert "Clip range" in said.out and "It never acts." in said.out
    assert ("would be refused" in said.err) == (code == 2)


def test_system_names_devices_and_the_build(store: Library, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "system")
    assert found["torch"]["version"] and found["devices"]["devices"][0]["device"]
    assert main(["system"]) == 0
    assert f"PyTorch {found['torch']['version']}" in capsys.readouterr().out
