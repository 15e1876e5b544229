"""What a person does with runs, and what the folder and the newest job tell of them. Nothing is trained here."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.config.presets import load_train_preset
from engine.data.runs import CHECKPOINT, Run
from engine.data.store import Store
from engine.errors import ConfigError, JobError
from engine.generation.request import GenerationRequest
from engine.jobs import trainee
from engine.jobs.process import ProcessIdentity
from engine.jobs.queue import JobQueue
from engine.jobs.runs import changed_copy, extend, file_run, resume, run_state, run_states
from engine.jobs.spec import JobSpec, Status

STEPS = 40


@pytest.fixture
def queue(store: Store) -> JobQueue:
    return JobQueue(store)


@pytest.fixture
def run(queue: JobQueue) -> Run:
    return Run.create(queue.store.workspace, load_train_preset("mini_nft", {"settings": {"max_steps": STEPS}}))


def checkpoint(run: Run, step: int) -> None:
    folder = run.checkpoints / f"{CHECKPOINT}{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    run.append_metrics(step, {"loss": 1.0, "of": STEPS})


def work(queue: JobQueue, status: Status, error: str = "") -> None:
    """Take the next job and end it."""
    job = queue.claim(ProcessIdentity.current())
    assert job is not None
    queue.finish(job.id, status, error=error)


def test_a_runs_state_follows_its_newest_job(queue: JobQueue, run: Run) -> None:
    assert run_state(queue, run.id).state == "new"
    job = file_run(queue, run)
    assert run_state(queue, run.id).state == "queued"
    queue.claim(ProcessIdentity.current())
    assert run_state(queue, run.id).state == "training"
    queue.cancel(job.id)
    assert run_state(queue, run.id).state == "stopping"
    checkpoint(run, 3)
    queue.finish(job.id, "cancelled")
    found = run_state(queue, run.id)
    assert (found.state, found.step, found.of, found.can_resume, found.can_extend) == ("stopped", 3, STEPS, True, True)


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_run_that_ended_badly_says_why_and_can_be_resumed(queue: JobQueue, run: Run, status: Status) -> None:
    file_run(queue, run)
    work(queue, status, "The loss is nan.")
    found = run_state(queue, run.id)
    assert (found.state, found.problem, found.can_resume) == (status, "The loss is nan.", True)
    assert resume(queue, run.id).config == {"run": run.id}


def test_a_run_is_never_queued_twice(queue: JobQueue, run: Run) -> None:
    job = file_run(queue, run)
    with pytest.raises(JobError, match=f"The run {run.id} is queued already, as job {job.id}"):
        resume(queue, run.id)
    assert len(queue.list("queued")) == 1


def test_a_finished_run_is_extended_and_not_resumed(queue: JobQueue, run: Run) -> None:
    checkpoint(run, STEPS)
    run.adapter.mkdir()
    assert run_state(queue, run.id).state == "finished"
    with pytest.raises(JobError, match="is finished: extend it"):
        resume(queue, run.id)
    extend(queue, run.id, 1000)
    assert run.preset().settings["max_steps"] == STEPS + 1000
    assert run_state(queue, run.id).state == "queued" and not run.adapter.exists()


@pytest.mark.parametrize("steps", [0, -3, 10**8])
def test_a_run_is_not_extended_by_nonsense(queue: JobQueue, run: Run, steps: int) -> None:
    checkpoint(run, STEPS)
    with pytest.raises(ConfigError, match="extended by 1 to 10,000,000 updates"):
        extend(queue, run.id, steps)


def test_a_run_without_a_checkpoint_is_not_extended(queue: JobQueue, run: Run) -> None:
    with pytest.raises(JobError, match="it is new, or kept no checkpoint"):
        extend(queue, run.id, 10)


def test_a_copy_has_the_runs_settings_with_changes(run: Run) -> None:
    copied = changed_copy(run, {"settings": {"learning_rate": 1e-5}})
    assert copied.settings == {**run.preset().settings, "learning_rate": 1e-5}
    with pytest.raises(ConfigError, match="Unknown key 'modle'"):
        changed_copy(run, {"modle": "mini"})


def test_a_damaged_run_is_listed_and_says_so(queue: JobQueue, run: Run) -> None:
    run.resolved.write_text("{")
    [found] = run_states(queue)
    assert found.state == "failed" and "is damaged" in found.problem and not found.can_resume


# ---- Its process
@pytest.fixture
def sleeper(run: Run) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that the run's folder names as the one that trains it."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    known = ProcessIdentity.of(process.pid)
    assert known is not None
    run.process.write_bytes(trainee.IDENTITY.dump_json(known))
    yield process
    process.kill()
    process.wait()


def test_a_run_that_still_trains_is_watched_instead_of_started_again(
    run: Run, sleeper: "subprocess.Popen[bytes]"
) -> None:
    found = trainee.start(run, {})
    assert found.pid == sleeper.pid and found.poll() is None
    found.terminate()
    sleeper.wait(20)
    assert found.poll() == 1  # it left no adapter behind, so it is not finished


def test_a_pid_that_another_program_has_now_is_not_taken_for_it(run: Run) -> None:
    own = ProcessIdentity.current()
    other = ProcessIdentity(host=own.host, boot_id=own.boot_id, pid=own.pid, started_s=own.started_s - 1000)
    run.process.write_bytes(trainee.IDENTITY.dump_json(other))
    assert trainee.identity(run) is None


def test_killing_a_training_job_ends_its_process(queue: JobQueue, run: Run, sleeper: "subprocess.Popen[bytes]") -> None:
    job = file_run(queue, run)
    queue.claim(ProcessIdentity.current())
    assert trainee.kill(queue, job.id).status == "stopping"
    sleeper.wait(20)
    assert run.process.exists() and trainee.identity(run) is None


def test_killing_a_queued_job_cancels_it(queue: JobQueue, run: Run) -> None:
    assert trainee.kill(queue, file_run(queue, run).id).status == "cancelled"


def test_killing_another_job_ends_its_worker(queue: JobQueue) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        job = queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
        known = ProcessIdentity.of(worker.pid)
        assert known is not None
        queue.claim(known)
        trainee.kill(queue, job.id)
        worker.wait(20)
        [ended] = queue.reconcile()
        assert ended.status == "cancelled"
    finally:
        worker.kill()
        worker.wait()
