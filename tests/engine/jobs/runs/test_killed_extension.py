"""An extension of a run whose process is killed."""

import subprocess
import sys

import pytest

from engine.config.presets import load_train_preset
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import extend
from engine.process_identity import ProcessIdentity
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.run import Run
from engine.storage.library import Library

STEPS = 40


@pytest.mark.parametrize("queued", [False, True])
def test_an_extension_that_was_killed_is_not_counted_twice(store: Library, queued: bool) -> None:
    """Killed before its job was queued, or after it."""
    queue = JobQueue(store)
    run = Run.create(store.workspace, load_train_preset("mini_nft", {"settings": {"max_steps": STEPS}}))
    checkpoint = run.checkpoints / f"{CHECKPOINT}{STEPS}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    run.append_metrics(STEPS, {"loss": 1.0, "of": STEPS})
    run.adapter.mkdir()
    (run.adapter / WEIGHTS_FILE).write_text("trained")
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
    command = [sys.executable, "-c", code, str(queue.store.workspace.root), run.id, str(queued)]
    assert subprocess.run(command, timeout=120).returncode == 9
    assert not run.adapter.exists()
    if queued:
        job = queue.claim(ProcessIdentity.current())
        assert job is not None
        queue.finish(job.id, "cancelled")
    extend(queue, run.id, 100)
    assert run.preset().settings["max_steps"] == STEPS + (200 if queued else 100)
    assert sorted(path.name for path in run.folder.glob("*") if path.name.startswith(("adapter", "change"))) == []
