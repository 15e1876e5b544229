"""A request whose answer was lost is sent again when its job exists already: nothing is done twice."""

import pytest

from engine.config.presets import load_train_preset
from engine.errors import JobError
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import extend, resume
from engine.jobs.spec import Status
from engine.process_identity import ProcessIdentity
from engine.runs.run import Run
from engine.storage.library import Library

STEPS = 20


@pytest.fixture
def run(store: Library) -> Run:
    run = Run.create(store.workspace, load_train_preset("mini_nft", {"settings": {"max_steps": STEPS}}))
    folder = run.checkpoints / f"checkpoint-{STEPS}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    run.append_metrics(STEPS, {"loss": 1.0, "of": STEPS})
    return run


def end(queue: JobQueue, status: Status) -> None:
    job = queue.claim(ProcessIdentity.current())
    assert job is not None
    queue.finish(job.id, status, error="")


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_is_extended_once(store: Library, run: Run, ended: bool) -> None:
    run.adapter.mkdir()
    first = extend(JobQueue(store), run.id, 100, key="lost")
    if ended:
        end(JobQueue(store), "done")
        run.adapter.mkdir()
    assert extend(JobQueue(store), run.id, 100, key="lost").id == first.id
    assert run.preset().settings["max_steps"] == STEPS + 100 and run.adapter.is_dir() == ended
    if ended:
        assert extend(JobQueue(store), run.id, 100, key="another").id != first.id


def test_a_run_is_resumed_once(store: Library, run: Run) -> None:
    first = resume(JobQueue(store), run.id, key="lost")
    end(JobQueue(store), "done")
    run.adapter.mkdir()
    assert resume(JobQueue(store), run.id, key="lost").id == first.id
    with pytest.raises(JobError, match="is finished"):
        resume(JobQueue(store), run.id, key="another")
