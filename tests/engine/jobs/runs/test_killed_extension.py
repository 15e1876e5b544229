"""An extension of a run whose process is killed."""

import subprocess
import sys

import pytest

from engine.config.presets import load_train_preset
from engine.errors import JobError
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import extend, resume
from engine.process_identity import ProcessIdentity
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.run import Run
from engine.storage.library import Library

STEPS = 40


@pytest.fixture
def run(store: Library) -> Run:
    """A finished run."""
    run = Run.create(store.workspace, load_train_preset("mini_nft", {"settings": {"max_steps": STEPS}}))
    checkpoint = run.checkpoints / f"{CHECKPOINT}{STEPS}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    run.append_metrics(STEPS, {"loss": 1.0, "of": STEPS})
    run.adapter.mkdir()
    (run.adapter / WEIGHTS_FILE).write_text("trained")
    return run


def left(run: Run) -> list[str]:
    return sorted(path.name for path in run.folder.glob("*") if path.name.startswith(("adapter", "change")))


def killed(run: Run, *, queued: bool) -> None:
    """Extend a run in a process that is killed before or after the job is queued."""
    code = """
import os, sys
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import extend
from engine.storage.library import Library
from engine.workspace import Workspace
queue = JobQueue(Library(Workspace.from_env(sys.argv[1])))
def killed(*request, submit=queue.submit):
    if sys.argv[3] == "True":
        submit(*request)
    os._exit(9)
queue.submit = killed
extend(queue, sys.argv[2], 100)
"""
    command = [sys.executable, "-c", code, str(run.workspace.root), run.id, str(queued)]
    assert subprocess.run(command, timeout=120).returncode == 9
    assert not run.adapter.exists()


@pytest.mark.parametrize("queued", [False, True])
def test_an_extension_that_was_killed_is_not_counted_twice(store: Library, run: Run, queued: bool) -> None:
    queue = JobQueue(store)
    killed(run, queued=queued)
    if queued:
        job = queue.claim(ProcessIdentity.current())
        assert job is not None
        queue.finish(job.id, "cancelled")
    extend(queue, run.id, 100)
    assert run.preset().settings["max_steps"] == STEPS + (200 if queued else 100)
    assert left(run) == []


def test_a_run_whose_extension_was_killed_is_finished_again_when_it_is_resumed(store: Library, run: Run) -> None:
    killed(run, queued=False)
    with pytest.raises(JobError, match="is finished: extend it"):
        resume(JobQueue(store), run.id)
    assert run.preset().settings["max_steps"] == STEPS and left(run) == ["adapter"]
    assert (run.adapter / WEIGHTS_FILE).read_text() == "trained"


@pytest.mark.parametrize("has_adapter", [False, True])
@pytest.mark.parametrize("change", [None, "{"])
def test_an_adapter_that_was_set_aside_without_a_readable_change_is_kept(
    store: Library, run: Run, has_adapter: bool, change: str | None
) -> None:
    """By an earlier version, or in a damaged folder."""
    aside = run.folder / "adapter.before"
    run.adapter.rename(aside)
    if has_adapter:
        run.adapter.mkdir()
        (run.adapter / WEIGHTS_FILE).write_text("newer")
    if change is not None:
        (run.folder / "change.json").write_text(change)
    with pytest.raises(JobError, match="is finished: extend it"):
        resume(JobQueue(store), run.id)
    assert (run.adapter / WEIGHTS_FILE).read_text() == ("newer" if has_adapter else "trained")
    assert left(run) == ["adapter"]
