"""What a person does with runs, and what the folder and the newest job tell of them. Nothing is trained here."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, JobCancelled, JobError
from engine.execution.attempt import Attempt, ProcessSpec, keep_process
from engine.execution.process_runner import Handle, WorkerShutdown, find_running, monitored, open_runner, save_handle
from engine.execution.resources import Resources
from engine.families.lora_files import WEIGHTS_FILE
from engine.files.locks import try_lock
from engine.jobs.context import JobContext
from engine.jobs.handlers import train
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.queue import JobQueue
from engine.jobs.runs import train_process
from engine.jobs.runs.run_actions import clone_preset, extend, resume, run_state, run_states, submit_run
from engine.jobs.spec import Job, JobProgress, JobSpec, Status
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.adapters import AdapterCard, find_adapter, list_adapters, newest_of_runs, write_card
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.storage.library import Library
from engine.training.exit_codes import FAILED, REFUSED

STEPS = 40


@pytest.fixture
def queue(store: Library) -> JobQueue:
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
    job = submit_run(queue, run)
    assert run_state(queue, run.id).state == "queued"
    queue.claim(ProcessIdentity.current())
    assert run_state(queue, run.id).state == "training"
    queue.cancel(job.id)
    assert run_state(queue, run.id).state == "stopping"
    checkpoint(run, 3)
    queue.finish(job.id, "cancelled")
    found = run_state(queue, run.id)
    assert (found.state, found.step, found.of, found.can_resume, found.can_extend) == ("stopped", 3, STEPS, True, True)


def test_what_a_curriculum_or_a_shell_trains_is_not_called_stopped(queue: JobQueue, run: Run) -> None:
    submit_run(queue, run)
    work(queue, "failed", "The loss is nan.")
    checkpoint(run, 3)
    trainer = try_lock(run.lock)
    assert trainer is not None
    found = run_state(queue, run.id)
    assert (found.state, found.problem, found.can_resume, found.can_extend) == ("training", "", False, False)
    os.close(trainer)
    assert run_state(queue, run.id).state == "failed"


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_run_that_ended_badly_says_why_and_can_be_resumed(queue: JobQueue, run: Run, status: Status) -> None:
    submit_run(queue, run)
    work(queue, status, "The loss is nan.")
    found = run_state(queue, run.id)
    assert (found.state, found.problem, found.can_resume) == (status, "The loss is nan.", True)
    assert resume(queue, run.id).config == {"run": run.id}


@pytest.mark.parametrize(("code", "state"), [(FAILED, "failed"), (REFUSED, "refused"), (-9, "killed")])
def test_a_run_whose_settings_are_refused_is_not_resumed(queue: JobQueue, run: Run, code: int, state: str) -> None:
    submit_run(queue, run)
    attempt = Attempt.begin(run.folder, ProcessSpec(argv=(), env={}, cwd=""))
    keep_process(run.folder, {"id": attempt.id})
    if code < 0:
        attempt.ask_to_stop(0)
    attempt.end(code)
    work(queue, "failed", "The run was not started.")
    found = run_state(queue, run.id)
    problem = "" if state == "killed" else "The run was not started."
    assert (found.state, found.can_resume, found.problem) == (state, code != REFUSED, problem)


def test_a_run_goes_on_where_it_was(queue: JobQueue, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same kind of cluster, at the address that holds now."""
    monkeypatch.setenv("DAILIES_RAY_ADDRESS", "http://old:8265")
    submit_run(queue, run, Resources(runner="ray", processes=2))
    work(queue, "lost", "The cluster is gone.")
    monkeypatch.setenv("DAILIES_RAY_ADDRESS", "http://new:8265/")
    assert resume(queue, run.id).resources == {"runner": "ray", "processes": 2, "address": "http://new:8265"}


def test_what_needs_a_cluster_is_refused_without_one(
    queue: JobQueue, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAILIES_RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="DAILIES_RAY_ADDRESS must be the address of a Ray cluster's job server"):
        submit_run(queue, run, Resources(runner="ray"))
    generate = JobSpec.generate([GenerationRequest(prompt="a red circle")])
    with pytest.raises(ConfigError, match="A 'generate' job is supported on this machine only"):
        queue.submit(generate.model_copy(update={"resources": Resources(runner="slurm")}))
    assert not queue.list()


def test_a_run_is_never_queued_twice(queue: JobQueue, run: Run) -> None:
    job = submit_run(queue, run)
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
    assert run_state(queue, run.id).state == "queued" and not list(run.folder.glob("adapter*"))


def test_of_two_windows_one_extends_a_run(queue: JobQueue, run: Run) -> None:
    """The second window begins while the first submits its job."""
    both = threading.Barrier(2)

    class Window(JobQueue):
        def submit(self, spec: JobSpec, key: str | None = None) -> Job:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)
            return super().submit(spec, key)

    checkpoint(run, STEPS)
    run.adapter.mkdir()
    with ThreadPoolExecutor(2) as threads:
        windows = [threads.submit(extend, Window(queue.store), run.id, steps) for steps in (100, 200)]
    refused = [window.exception() for window in windows]
    [(won, _)] = [(number, error) for number, error in enumerate(refused) if error is None]
    assert isinstance(refused[1 - won], JobError) and len(queue.list("queued")) == 1
    assert run.preset().settings["max_steps"] == STEPS + (100, 200)[won]
    assert sorted(path.name for path in run.folder.glob("adapter*")) == []


@pytest.mark.parametrize("steps", [0, -3, 10**8])
def test_a_run_is_not_extended_by_nonsense(queue: JobQueue, run: Run, steps: int) -> None:
    checkpoint(run, STEPS)
    with pytest.raises(ConfigError, match="extended by 1 to 10,000,000 updates"):
        extend(queue, run.id, steps)


def test_a_run_without_a_checkpoint_is_not_extended(queue: JobQueue, run: Run) -> None:
    with pytest.raises(JobError, match="it is new, or has no checkpoint"):
        extend(queue, run.id, 10)


def test_a_copy_has_the_runs_settings_with_changes(run: Run) -> None:
    copied = clone_preset(run, {"settings": {"learning_rate": 1e-5}})
    assert copied.settings == {**run.preset().settings, "learning_rate": 1e-5}
    with pytest.raises(ConfigError, match="Unknown key 'modle'"):
        clone_preset(run, {"modle": "mini"})


def test_a_damaged_run_is_listed_and_says_so(queue: JobQueue, run: Run) -> None:
    run.resolved.write_text("{")
    [found] = run_states(queue)
    assert found.state == "failed" and "is damaged" in found.problem and not found.can_resume


# ---- Its process
@pytest.fixture
def sleeper(run: Run, until: Callable[..., None]) -> Iterator[Handle]:
    """A process that the run's folder names as the one that trains it."""
    runner = open_runner("local")
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    handle = runner.submit(argv, env={}, cwd=run.folder, resources=Resources(), run_dir=run.folder)
    yield handle
    runner.cancel(handle, 0)
    until(lambda: runner.poll(handle).is_over, "the process to end")


def test_a_run_that_still_trains_is_watched_instead_of_started_again(
    queue: JobQueue, run: Run, sleeper: Handle, until: Callable[..., None]
) -> None:
    runner, found = train_process.begin(run, JobContext(store=queue.store))
    assert found == sleeper and runner.poll(found).state == "running"
    runner.cancel(found, 60)
    until(lambda: runner.poll(found).is_over, "the process to end")
    assert runner.poll(found).exit_code == -signal.SIGTERM and find_running(run.folder) is None


def finish(run: Run) -> None:
    """What the training process does last."""
    shutil.rmtree(run.adapter, ignore_errors=True)
    run.adapter.mkdir()
    (run.adapter / WEIGHTS_FILE).write_bytes(b"weights of %d" % len(run.series.listed()))
    write_card(run.adapter, AdapterCard(model="mini"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_after_it_finished_the_run_has_finished_it(
    queue: JobQueue, run: Run, sleeper: Handle, number: int
) -> None:
    job = kind_of("train", KINDS).start(JobSpec.train(run.id).config, JobContext(store=queue.store))
    next(job)
    finish(run)
    assert sleeper.process is not None
    os.kill(sleeper.process.pid, number)
    with pytest.raises(StopIteration) as end:
        while True:
            next(job)
    assert end.value.value == {"run": run.id, "adapter": run.id}
    assert find_adapter(queue.store.workspace, run.id, "mini").folder.name == run.id


@pytest.mark.parametrize(
    ("code", "processes", "action", "told"),
    [
        (
            3,
            1,
            "pause",
            "paused by its alarm at step 4. Motion is lost. Resume it to continue from its last checkpoint",
        ),
        (3, 1, "roll_back", "Resume it to continue from the last sound checkpoint"),
        (3, 1, "log", "was stopped, with a checkpoint: resume it"),
        (1, 2, "pause", "paused by its alarm at step 4"),
        (1, 1, "pause", "failed"),
        (2, 1, "log", "failed"),
    ],
)
def test_a_run_that_its_alarm_ended_did_not_fail(
    queue: JobQueue, run: Run, monkeypatch: pytest.MonkeyPatch, code: int, processes: int, action: str, told: str
) -> None:
    """A launcher of several processes hides their exit code. What was raised before this process is no cause."""
    alarm = Alarm(step=2, name="drift", sentence="Earlier.", value=1.0, limit=0.5, action="pause")
    run.append_alarm(alarm)

    def begun(run: Run, context: JobContext) -> object:
        run.append_alarm(alarm.model_copy(update={"step": 4, "sentence": "Motion is lost.", "action": action}))
        argv = [sys.executable, "-c", f"raise SystemExit({code})"]
        runner = open_runner("local")
        return runner, runner.submit(argv, env={}, cwd=run.folder, resources=Resources(), run_dir=run.folder)

    monkeypatch.setattr(train, "begin", begun)
    with pytest.raises(JobError, match=told) as end:
        list(train.train_run(run, JobContext(store=queue.store, resources=Resources(processes=processes))))
    assert isinstance(end.value, JobCancelled) == (told != "failed")


@pytest.mark.parametrize(("status", "state"), [("lost", "lost"), ("failed", "failed"), ("cancelled", "stopped")])
def test_a_run_whose_adapter_nobody_published_is_resumed_for_that(
    queue: JobQueue, run: Run, status: Status, state: str
) -> None:
    """Attendant and worker were killed at once, or the job was cancelled while the run was written down.

    Also after it was extended: the name of the older adapter stays with its weights.
    """
    workspace, names = queue.store.workspace, [run.id, f"{run.id}-to-80"]
    for step, name in zip((STEPS, 2 * STEPS), names, strict=True):
        submit_run(queue, run)
        checkpoint(run, step)
        work(queue, status)
        finish(run)
        os.utime(run.adapter, ns=(earlier := time.time_ns() - step * 10**9, earlier))  # the clock was set back
        assert (run_state(queue, run.id).state, run_state(queue, run.id).can_resume) == (state, True), name
        resume(queue, run.id)
        job = kind_of("train", KINDS).start(JobSpec.train(run.id).config, JobContext(store=queue.store))
        with pytest.raises(StopIteration) as end:
            next(job)
        assert end.value.value == {"run": run.id, "adapter": name}
        work(queue, "done")
        assert run_state(queue, run.id).state == "finished" and not (run.folder / "attempts").exists()
        assert newest_of_runs(workspace)[run.id].name == name == train.publish(run, workspace)
    assert [one.name for one in list_adapters(workspace)] == names


def test_a_whole_network_is_no_adapter(queue: JobQueue, run: Run) -> None:
    run.adapter.mkdir()
    (run.adapter / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    assert train.publish(run, queue.store.workspace) is None and newest_of_runs(queue.store.workspace) == {}
    submit_run(queue, run)
    work(queue, "lost")
    assert run_state(queue, run.id).state == "finished"
    with pytest.raises(ConfigError, match="trained the whole network, so its result is a model"):
        run.adapter_weights()


def test_the_step_of_weights_is_that_of_their_checkpoint(run: Run) -> None:
    with pytest.raises(ConfigError, match="has no checkpoint yet"):
        run.adapter_weights()
    checkpoint(run, 30)
    (run.checkpoints / f"{CHECKPOINT}30" / WEIGHTS_FILE).touch()
    run.append_metrics(37, {"loss": 1.0, "of": STEPS})
    assert run.adapter_weights() == (run.checkpoints / f"{CHECKPOINT}30", 30)
    finish(run)
    assert run.adapter_weights() == (run.adapter, 37)


def test_a_run_whose_cluster_is_not_set_up_here_is_nobodys(run: Run, sleeper: Handle) -> None:
    save_handle(replace(sleeper, runner="ray", address="no address"))
    assert find_running(run.folder) is None
    save_handle(sleeper)


def test_what_trains_here_ends_with_its_worker(sleeper: Handle) -> None:
    """On a cluster it would go on, see test_on_ray.py."""
    runner = open_runner("local")
    with pytest.raises(WorkerShutdown), monitored(runner, sleeper):
        raise WorkerShutdown
    assert runner.poll(sleeper).exit_code == -signal.SIGTERM


def test_killing_a_training_job_ends_its_process(
    queue: JobQueue, run: Run, sleeper: Handle, until: Callable[..., None]
) -> None:
    job = submit_run(queue, run)
    queue.claim(ProcessIdentity.current())
    assert train_process.kill(queue, job.id).status == "stopping"
    until(lambda: find_running(run.folder) is None, "the process to end")
    assert sleeper.attempt.exit_code() == -signal.SIGKILL


def test_killing_an_evaluation_leaves_the_runs_training_alone(
    queue: JobQueue, run: Run, sleeper: Handle, until: Callable[..., None]
) -> None:
    queue.submit(JobSpec(kind="evaluate", config={"run": run.id}))
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    job = queue.claim(ProcessIdentity.of(worker.pid))
    assert job is not None
    train_process.kill(queue, job.id)
    assert worker.wait(30) == -signal.SIGKILL and find_running(run.folder) is not None
    assert [one.id for one in queue.reconcile()] == [job.id], "it is not taken for what goes on"


def test_killing_by_the_jobs_row_needs_no_run(
    queue: JobQueue, run: Run, sleeper: Handle, until: Callable[..., None]
) -> None:
    """As of a curriculum, whose job does not name the run that it is at."""
    job = queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
    queue.claim(ProcessIdentity.current())
    queue.heartbeat(job.id, JobProgress(phase="train", handle=sleeper))
    found = queue.get(job.id).progress
    assert found is not None and found.handle == sleeper
    train_process.kill(queue, job.id)
    until(lambda: find_running(run.folder) is None, "the process to end")


def test_killing_a_queued_job_cancels_it(queue: JobQueue, run: Run) -> None:
    assert train_process.kill(queue, submit_run(queue, run).id).status == "cancelled"


def test_killing_another_job_ends_its_worker(queue: JobQueue) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        job = queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
        known = ProcessIdentity.of(worker.pid)
        assert known is not None
        queue.claim(known)
        train_process.kill(queue, job.id)
        worker.wait(20)
        [ended] = queue.reconcile()
        assert ended.status == "cancelled"
    finally:
        worker.kill()
        worker.wait()
