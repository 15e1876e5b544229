"""The process that trains a run, seen from outside: started, found again after its worker was killed, and killed.

What finds it stands in the run's folder, and in the job's row. A worker that dies leaves it training; the next job for
the run watches the same process instead of starting a second one, wherever it runs.
"""

import sys
import time

import psutil

from engine.errors import JobError
from engine.execution.process_runner import Handle, ProcessRunner, find_running, open_runner
from engine.execution.resources import LOCAL, Resources
from engine.hardware.environment import process_changes
from engine.jobs.context import JobContext
from engine.jobs.heartbeat_age import is_silent
from engine.jobs.orphans import process_of
from engine.jobs.queue import JobQueue
from engine.jobs.spec import ACTIVE, Job
from engine.package_data import IMPORT_ROOT
from engine.process_identity import ProcessIdentity
from engine.runs.run import Run

OBEYS_S = 3.0  # an attendant looks ten times a second whether it is to end its child


def command(run: Run, resources: Resources | None = None) -> list[str]:
    """What trains a run, as a command line."""
    plain = [sys.executable, "-m", "engine.training.main", str(run.folder)]
    if resources is None or not resources.actors:
        return plain
    return [*plain, f"--actors={resources.actors}", f"--gpus={resources.gpus}", f"--cpus={resources.cpus}"]


def begin(run: Run, context: JobContext) -> tuple[ProcessRunner, Handle]:
    """The process that trains the run: the one that the worker before this one watched, also if it ended since; the one
    that still trains it; else a new one, whose output goes to the run's log.
    """
    if context.handle is not None and context.handle.folder == run.folder:
        return open_runner(context.handle.runner, context.handle.address), context.handle
    found = find_running(run.folder)
    if found is not None:
        return found
    resources = context.resources
    runner = open_runner(resources.runner, resources.address)
    changes = {**process_changes(run.workspace), **context.visible}
    return runner, runner.submit(
        command(run, resources), env=changes, cwd=IMPORT_ROOT, resources=resources, run_dir=run.folder
    )


def kill(queue: JobQueue, job_id: str) -> Job:
    """End a job at once, without a last checkpoint: the process that does it, else the worker that runs it.

    A queued job is cancelled. Raises JobError when it is over already, or its worker is on another machine.
    """
    job = queue.cancel(job_id)
    if job.status not in ACTIVE:
        return job
    handle = process_of(job, queue.store.workspace)
    if handle is not None:
        _kill_process(handle)
    if job.worker is not None and (handle is None or is_silent(job)):
        _kill_worker(job, job.worker)  # one that hangs would not see that the process is gone
    return queue.get(job.id)


def _kill_process(handle: Handle) -> None:
    """Ask for the end at once; a local attendant that does not obey because it is stopped is killed with its child."""
    runner = open_runner(handle.runner, handle.address)
    runner.cancel(handle, 0)
    deadline = time.monotonic() + OBEYS_S
    while handle.runner == LOCAL and not runner.poll(handle).is_over:
        if time.monotonic() > deadline:
            if handle.process is not None and handle.process.is_local and handle.process.is_alive:
                psutil.Process(handle.process.pid).kill()
            return
        time.sleep(0.05)


def _kill_worker(job: Job, worker: ProcessIdentity) -> None:
    if not worker.is_local:
        raise JobError(f"Job {job.id} cannot be killed from here: it runs on another machine, and was asked to stop.")
    if worker.is_alive:
        psutil.Process(worker.pid).kill()
