"""Start, find and kill the process that trains a run.

The facts by which it is found are in the run's folder and in the job's row. When a worker dies, the process continues;
the next job for the run monitors the same process, on any machine, instead of starting a second one.
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

OBEYS_S = 3.0  # a supervisor reads requests to stop ten times a second


def command(run: Run, resources: Resources | None = None) -> list[str]:
    """Return the command line that trains a run."""
    plain = [sys.executable, "-m", "engine.training.main", str(run.folder)]
    if resources is None or not resources.actors:
        return plain
    return [*plain, f"--actors={resources.actors}", f"--gpus={resources.gpus}", f"--cpus={resources.cpus}"]


def begin(run: Run, context: JobContext) -> tuple[ProcessRunner, Handle]:
    """Return the process that trains the run, and start it if there is none.

    In this order: the process that the previous worker monitored, even if it has ended since; a process that still
    trains the run; a new one, whose output is written to the run's log.
    """
    if context.handle is not None and context.handle.folder == run.folder:
        return open_runner(context.handle.runner, context.handle.address), context.handle
    running = find_running(run.folder)
    if running is not None:
        return running
    resources = context.resources
    runner = open_runner(resources.runner, resources.address)
    changes = {**process_changes(run.workspace), **context.visible}
    return runner, runner.submit(
        command(run, resources), env=changes, cwd=IMPORT_ROOT, resources=resources, run_dir=run.folder
    )


def kill(queue: JobQueue, job_id: str) -> Job:
    """Kill a job without a last checkpoint: its process, or else the worker that runs it.

    A queued job is cancelled. Raises JobError when the job has already ended, or its worker is on another machine.
    """
    job = queue.cancel(job_id)
    if job.status not in ACTIVE:
        return job
    handle = process_of(job, queue.store.workspace)
    if handle is not None:
        _kill_process(handle)
    if job.worker is not None and (handle is None or is_silent(job)):
        _kill_worker(job, job.worker)  # a worker that hangs would not notice the end of the process
    return queue.get(job.id)


def _kill_process(handle: Handle) -> None:
    """Request an immediate stop; kill a local supervisor that does not react, and its child with it."""
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
        raise JobError(
            f"Job {job.id} cannot be killed from here: it runs on another machine. It was requested to stop."
        )
    if worker.is_alive:
        psutil.Process(worker.pid).kill()
