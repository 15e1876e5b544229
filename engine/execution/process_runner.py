"""`ProcessRunner`: one interface to a detached process here, a Ray job and a Slurm job.

A runner holds no state in memory that it needs. A `Handle`, stored in the job's row and in the process's folder,
identifies the process, and another runner object continues with it in another process or after a reboot. The state of a
job is in our database alone; a cluster is only queried for whether a process still runs.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from engine.errors import ConfigError, JobError
from engine.execution.attempt import GRACE_S, Attempt, ProcessSpec, keep_process, kept_process
from engine.execution.die_with_parent import die_with_parent_command
from engine.execution.resources import LOCAL, RUNNERS, Resources, RunnerKey
from engine.process_identity import ProcessIdentity
from rewards.import_object import import_object

PYTHON_MODULE = (sys.executable, "-m")
MARGIN_S = 30.0  # for a cluster to notice
POLL_S = 0.5
FIRST_POLL_S = 0.02  # after a stop; doubles up to POLL_S
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A submitted process: `id` names the attempt in `folder`, `foreign` is the cluster's name for it."""

    runner: RunnerKey
    folder: Path
    id: str
    address: str = ""
    foreign: str = ""
    process: ProcessIdentity | None = None

    @property
    def attempt(self) -> Attempt:
        return Attempt(folder=self.folder, id=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """The state of a process.

    `exit_code` is Popen's once it has "ended"; `sentence` is the reason for "lost". "waiting": the cluster has not
    started it yet. "lost": it ended, or cannot be queried, and left no exit code.
    """

    state: Literal["waiting", "running", "ended", "lost"]
    exit_code: int | None = None
    sentence: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "lost")


class WorkerShutdown(BaseException):
    """Thrown into a handler when its worker has to end: the job returns to the queue, for another worker.

    It passes every `except Exception`. A process on a cluster may continue meanwhile; the next worker adopts it.
    """


class ProcessRunner:
    """Base of the runners: everything but starting the supervisor and querying its state.

    Methods raise JobError in one sentence; `poll` returns a state instead. `address` is that of the cluster, "" without
    one. A runner `spreads` when its process can request more processes from the cluster.
    """

    key: RunnerKey
    address = ""
    spreads = False

    def submit(
        self, argv: Sequence[str], *, env: Mapping[str, str | None], cwd: Path, resources: Resources, run_dir: Path
    ) -> Handle:
        """Start a process whose output is written to the folder's log; save its handle in the folder."""
        work = ProcessSpec(argv=torchrun_command(argv, resources), env=self.environment(env), cwd=str(cwd))
        try:
            attempt = Attempt.begin(run_dir, work)
        except OSError as error:
            raise JobError(f"Nothing can be started in {run_dir}: {error.strerror or error}.") from error
        return self.launch(attempt, resources)

    def poll(self, handle: Handle) -> ProcessStatus:
        """Return the recorded exit code, else the state that the machine or the cluster reports."""
        ended = _ended(handle)
        if ended is not None:
            return ended
        status = self.query(handle)
        return (_ended(handle) or status) if status.is_over else status

    def cancel(self, handle: Handle, grace_s: float) -> None:
        """Send TERM now and KILL after `grace_s` seconds. Returns at once: poll for the end."""
        try:
            handle.attempt.ask_to_stop(grace_s)
        except OSError as error:
            raise JobError(f"{handle.folder} cannot be written: {error.strerror or error}.") from error

    def reattach(self, handle: Handle) -> bool:
        """Return True when a process submitted earlier is not over."""
        return not self.poll(handle).is_over

    def environment(self, env: Mapping[str, str | None]) -> Mapping[str, str | None]:
        return env

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        """Start the supervisor of an attempt and save its handle (`save_handle`)."""
        raise NotImplementedError

    def query(self, handle: Handle) -> ProcessStatus:
        """Return the state of an attempt that has recorded no exit code."""
        raise NotImplementedError


HANDLE = TypeAdapter(Handle)


def save_handle(handle: Handle) -> Handle:
    """Write a handle into its folder, without the folder's path, since runs may be moved."""
    facts = {**HANDLE.dump_python(handle, mode="json"), "folder": ""}
    try:
        keep_process(handle.folder, facts)
    except OSError as error:
        raise JobError(f"{handle.folder} cannot be written: {error.strerror or error}.") from error
    return handle


def load_handle(folder: Path) -> Handle | None:
    """Return the handle of the last attempt in a folder; None when it is missing or damaged."""
    facts = kept_process(folder)
    return None if facts is None else read_handle({**facts, "folder": str(folder)})


def read_handle(facts: Mapping[str, Any]) -> Handle | None:
    try:
        return HANDLE.validate_python(facts)
    except ValidationError:
        return None


def open_runner(key: RunnerKey, address: str = "") -> ProcessRunner:
    """Return the runner of that name.

    Raises ConfigError when the address of its cluster is missing or invalid.
    """
    return cast(Callable[[str], ProcessRunner], import_object(RUNNERS[key]))(address)


def find_running(folder: Path) -> tuple[ProcessRunner, Handle] | None:
    """Return the running process of a folder with its runner; None when none can be queried."""
    handle = load_handle(folder)
    if handle is None:
        return None
    try:
        runner = open_runner(handle.runner, handle.address)
        return (runner, handle) if runner.reattach(handle) else None
    except ConfigError:  # its cluster is no longer configured here
        return None


@contextmanager
def monitored(runner: ProcessRunner, handle: Handle) -> Iterator[None]:
    """Stop the process at the end of the block; one on a cluster continues when the worker shuts down."""
    continues = False
    try:
        yield
    except WorkerShutdown:
        continues = handle.runner != LOCAL
        raise
    finally:
        if not continues:
            stop_and_wait(runner, handle)


def stop_and_wait(runner: ProcessRunner, handle: Handle) -> None:
    """Stop a process and wait for its end; its supervisor kills it after `GRACE_S`."""
    if runner.poll(handle).is_over:
        return
    runner.cancel(handle, GRACE_S)
    deadline, pause_s = time.monotonic() + GRACE_S + MARGIN_S, FIRST_POLL_S
    while not runner.poll(handle).is_over:
        if time.monotonic() > deadline:
            log.warning("The process of %s has not ended yet, though a stop was requested.", handle.folder)
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, POLL_S)


def resolve_resources(resources: Resources) -> Resources:
    """Return the resources with the cluster's address.

    Raises ConfigError like `open_runner`, or for idle actors.
    """
    runner = open_runner(resources.runner, resources.address)
    if resources.actors and not runner.spreads:
        raise ConfigError(f"--actors work on a Ray cluster only, but the runner is '{resources.runner}'.")
    if resources.actors and resources.processes > 1:
        raise ConfigError(
            f"--actors serve one process, but --processes is {resources.processes}: leave one of them out."
        )
    return resources.model_copy(update={"address": runner.address})


def supervisor_command(attempt: Attempt) -> list[str]:
    """Return the command that supervises an attempt, to be run in `IMPORT_ROOT`."""
    return [*PYTHON_MODULE, "engine.execution.supervisor", str(attempt.place)]


def torchrun_command(argv: Sequence[str], resources: Resources) -> list[str]:
    """Return the command for one process, or for several by torchrun, whose ranks die with it."""
    if resources.processes == 1:
        return list(argv)
    torchrun = [*PYTHON_MODULE, "torch.distributed.run", "--standalone", "--no-python"]
    return [*torchrun, f"--nproc-per-node={resources.processes}", *die_with_parent_command(), *argv]


def _ended(handle: Handle) -> ProcessStatus | None:
    code = handle.attempt.exit_code()
    return None if code is None else ProcessStatus(state="ended", exit_code=code)
