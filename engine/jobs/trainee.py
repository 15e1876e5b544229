"""The process that trains a run, seen from outside: started, found again after its worker was killed, and killed.

Who it is stands in the run's folder. A worker that dies leaves it training; the next job for the run watches the same
process instead of starting a second one.
"""

import subprocess
import sys
from collections.abc import Mapping
from typing import Protocol

import psutil
from pydantic import TypeAdapter, ValidationError

from engine.data.runs import Run, write_whole
from engine.errors import JobError
from engine.jobs.process import ProcessIdentity
from engine.jobs.queue import JobQueue
from engine.jobs.spec import ACTIVE, Job

IDENTITY = TypeAdapter(ProcessIdentity)


class Trainee(Protocol):
    """What a watcher needs of a process; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Found:
    """A process that somebody else started. Its exit code is not ours to read: what it left behind tells."""

    def __init__(self, process: psutil.Process, run: Run) -> None:
        self._process, self._run = process, run
        self.pid = process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
            self.returncode = 0 if self._run.adapter.is_dir() else 1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        try:
            self._process.wait(timeout)
        except psutil.TimeoutExpired as error:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0) from error
        self.returncode = 0 if self._run.adapter.is_dir() else 1
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def command(run: Run) -> list[str]:
    """What trains a run, as a command line."""
    return [sys.executable, "-m", "engine.training.run", str(run.folder)]


def identity(run: Run) -> ProcessIdentity | None:
    """The process that trains the run now; None when there is none, or none on this machine."""
    try:
        known = IDENTITY.validate_json(run.process.read_bytes())
    except (OSError, ValidationError):
        return None
    return known if known.is_local and known.lives else None


def start(run: Run, environment: Mapping[str, str]) -> Trainee:
    """The process that trains the run: the one that still does, else a new one, whose output goes to the run's log."""
    known = identity(run)
    if known is not None:
        return Found(psutil.Process(known.pid), run)
    with run.log.open("ab") as output:
        process = subprocess.Popen(
            command(run), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environment)
        )
    started = ProcessIdentity.of(process.pid)
    if started is not None:
        write_whole(run.process, IDENTITY.dump_json(started).decode() + "\n")
    return process


def kill(queue: JobQueue, job_id: str) -> Job:
    """End a job at once, without a last checkpoint: its training process, else the worker that runs it.

    A queued job is cancelled. Raises JobError when it is over already, or runs on another machine.
    """
    job = queue.cancel(job_id)
    if job.status not in ACTIVE:
        return job
    victim = _process_of(queue, job)
    if victim is None or not victim.is_local:
        raise JobError(f"Job {job.id} cannot be killed from here: it runs on another machine, and was asked to stop.")
    if victim.lives:
        psutil.Process(victim.pid).kill()
    return queue.get(job.id)


def _process_of(queue: JobQueue, job: Job) -> ProcessIdentity | None:
    run_id = job.config.get("run")
    trains = identity(Run.find(queue.store.workspace, run_id)) if run_id else None
    return trains or job.worker
