"""`ProcessRunner`: where a process runs (a detached one here, a Ray job, a Slurm job).

Seen alike by whoever watches it.

A runner keeps nothing in memory that it needs: a `Handle` names what was submitted, in the job's row and in the folder
that the process fills, and any other runner object, in another process or after a reboot, takes it up from there. What
a job *is* stands in our database alone; a cluster is asked only whether something still runs.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from pydantic import TypeAdapter, ValidationError

from engine.errors import ConfigError, JobError
from engine.execution.attempt import Attempt, ProcessSpec, keep_process, kept_process, read_log
from engine.execution.die_with_parent import die_with_parent_command
from engine.execution.resources import LOCAL, RUNNERS, Resources, RunnerKey
from engine.execution.supervisor import GRACE_S
from engine.import_object import import_object
from engine.process_identity import ProcessIdentity

PYTHON_MODULE = (sys.executable, "-m")
MARGIN_S = 30.0  # for a cluster to notice
POLL_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What was submitted. `id` names the attempt in `folder`, `foreign` is what the cluster calls it, if it does."""

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
    """How a process is. `exit_code` is Popen's, once it has "ended"; when it is "lost" the `sentence` says why.

    "waiting": the cluster has no place for it yet. "lost": it ended, or cannot be asked, and left no exit code.
    """

    state: Literal["waiting", "running", "ended", "lost"]
    exit_code: int | None = None
    sentence: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "lost")


class WorkerShutdown(BaseException):
    """Thrown into a handler when its worker has to end: the job goes back into the queue, and another worker goes on.

    It passes every `except Exception`. What a cluster does may go on meanwhile; the next worker takes it up.
    """


class ProcessRunner(Protocol):
    """Methods raise JobError in one sentence; `poll` tells of trouble by its state instead.

    `address` is that of the cluster, "" where there is none. It `spreads` when a process of it can ask the cluster for
    more processes.
    """

    address: str
    spreads: bool

    def submit(
        self, argv: Sequence[str], *, env: Mapping[str, str | None], cwd: Path, resources: Resources, run_dir: Path
    ) -> Handle:
        """Start a process whose output goes to the folder's log; its handle is kept in the folder, too."""
        ...

    def poll(self, handle: Handle) -> ProcessStatus: ...

    def logs(self, handle: Handle, offset: int) -> tuple[bytes, int]:
        """What the folder's log has from this byte on, and where to go on."""
        ...

    def cancel(self, handle: Handle, grace_s: float) -> None:
        """TERM now, KILL after so many seconds. Returns at once: `poll` tells when it is over."""
        ...

    def reattach(self, handle: Handle) -> bool:
        """Whether what somebody submitted earlier is still to be watched."""
        ...


class FolderRunner:
    """What runners share: all but starting the attendant, and telling whether it lives."""

    key: RunnerKey
    address = ""
    spreads = False

    def submit(
        self, argv: Sequence[str], *, env: Mapping[str, str | None], cwd: Path, resources: Resources, run_dir: Path
    ) -> Handle:
        work = ProcessSpec(argv=torchrun_command(argv, resources), env=self.environment(env), cwd=str(cwd))
        try:
            attempt = Attempt.begin(run_dir, work)
        except OSError as error:
            raise JobError(f"Nothing can be started in {run_dir}: {error.strerror or error}.") from error
        return self.launch(attempt, resources)

    def poll(self, handle: Handle) -> ProcessStatus:
        """The exit code that was left behind; else what the machine or the cluster says."""
        ended = _ended(handle)
        if ended is not None:
            return ended
        found = self.look(handle)
        return (_ended(handle) or found) if found.is_over else found

    def logs(self, handle: Handle, offset: int) -> tuple[bytes, int]:
        return read_log(handle.folder, offset)

    def cancel(self, handle: Handle, grace_s: float) -> None:
        try:
            handle.attempt.ask_to_stop(grace_s)
        except OSError as error:
            raise JobError(f"{handle.folder} cannot be written: {error.strerror or error}.") from error

    def reattach(self, handle: Handle) -> bool:
        return not self.poll(handle).is_over

    def environment(self, env: Mapping[str, str | None]) -> Mapping[str, str | None]:
        return env

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        """Start the attendant of an attempt and keep its handle (`keep`)."""
        raise NotImplementedError

    def look(self, handle: Handle) -> ProcessStatus:
        """How it is with an attempt that has left no exit code."""
        raise NotImplementedError


HANDLE = TypeAdapter(Handle)


def save_handle(handle: Handle) -> Handle:
    """Write a handle into its folder, without saying where that lies: runs may be moved."""
    facts = {**HANDLE.dump_python(handle, mode="json"), "folder": ""}
    try:
        keep_process(handle.folder, facts)
    except OSError as error:
        raise JobError(f"{handle.folder} cannot be written: {error.strerror or error}.") from error
    return handle


def load_handle(folder: Path) -> Handle | None:
    """The handle of the last attempt in a folder; None when there is none, or it is damaged."""
    facts = kept_process(folder)
    return None if facts is None else read_handle({**facts, "folder": str(folder)})


def read_handle(facts: Mapping[str, Any]) -> Handle | None:
    try:
        return HANDLE.validate_python(facts)
    except ValidationError:
        return None


def open_runner(key: RunnerKey, address: str = "") -> ProcessRunner:
    """The runner of a name. Raises ConfigError when the address of its cluster is missing, or none."""
    return cast(Callable[[str], ProcessRunner], import_object(RUNNERS[key]))(address)


def find_running(folder: Path) -> tuple[ProcessRunner, Handle] | None:
    """The process that fills a folder now; None when there is none that can be asked."""
    handle = load_handle(folder)
    if handle is None:
        return None
    try:
        runner = open_runner(handle.runner, handle.address)
        return (runner, handle) if runner.reattach(handle) else None
    except ConfigError:  # its cluster is not set up here any more
        return None


@contextmanager
def monitored(runner: ProcessRunner, handle: Handle) -> Iterator[None]:
    """What is waited for inside the block ends with it. Only a cluster's goes on when the worker has to end."""
    goes_on = False
    try:
        yield
    except WorkerShutdown:
        goes_on = handle.runner != LOCAL
        raise
    finally:
        if not goes_on:
            stop_and_wait(runner, handle)


def stop_and_wait(runner: ProcessRunner, handle: Handle) -> None:
    """Ask a process to end within its grace, and wait until it has; its attendant kills it when it does not."""
    if runner.poll(handle).is_over:
        return
    runner.cancel(handle, GRACE_S)
    deadline = time.monotonic() + GRACE_S + MARGIN_S
    while not runner.poll(handle).is_over:
        if time.monotonic() > deadline:
            log.warning("The process that fills %s has not ended yet; it was asked to.", handle.folder)
            return
        time.sleep(POLL_S)


def resolve_resources(resources: Resources) -> Resources:
    """With the address of the cluster, if there is one. Raises ConfigError like `open_runner`, or for idle actors."""
    runner = open_runner(resources.runner, resources.address)
    if resources.actors and not runner.spreads:
        raise ConfigError(f"--actors work on a Ray cluster only, but the runner is '{resources.runner}'.")
    if resources.actors and resources.processes > 1:
        raise ConfigError(
            f"--actors serve one process, but --processes is {resources.processes}: leave one of them out."
        )
    return resources.model_copy(update={"address": runner.address})


def supervisor_command(attempt: Attempt) -> list[str]:
    """What looks after an attempt, as a command to be run in `IMPORT_ROOT`."""
    return [*PYTHON_MODULE, "engine.execution.supervisor", str(attempt.place)]


def torchrun_command(argv: Sequence[str], resources: Resources) -> list[str]:
    """The command as one process, or as several by torchrun, whose ranks die with it."""
    if resources.processes == 1:
        return list(argv)
    torchrun = [*PYTHON_MODULE, "torch.distributed.run", "--standalone", "--no-python"]
    return [*torchrun, f"--nproc-per-node={resources.processes}", *die_with_parent_command(), *argv]


def _ended(handle: Handle) -> ProcessStatus | None:
    code = handle.attempt.exit_code()
    return None if code is None else ProcessStatus(state="ended", exit_code=code)
