"""The warm worker: `python -m engine.jobs.worker` takes on jobs as there is room, and keeps a model between them.

Jobs that compute in this process do so one after the other, and share its model. Those whose work is done by a process
of their own, here or on a cluster, are only watched: each by a thread, beside the others, see
engine.jobs.device_leases.

One a workspace (it holds the workspace's worker lock), detached from whoever started it. After `idle_s` without a job
it gives the model's memory back, after `exit_s` it ends. SIGTERM puts the running jobs back into the queue, then ends.
When it is killed, what it watched goes on, and the next worker watches that.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import DailiesError, JobCancelled, JobLostError, StoreError
from engine.execution.process_runner import WorkerShutdown
from engine.execution.resources import read_resources
from engine.files.locks import try_lock
from engine.hardware.device_visibility import devices_here, visible_devices_env
from engine.hardware.job_environment import difference, recorded_environment
from engine.jobs.context import JobContext, ModelCache
from engine.jobs.heartbeat import Heartbeat, ProgressReporter
from engine.jobs.kinds import kind_of, load_kinds
from engine.jobs.queue import JobQueue
from engine.jobs.slots import JobSlots
from engine.jobs.spec import ACTIVE, Job, Status
from engine.jobs.worker_control import WorkerState, ensure_worker, write_state
from engine.process_identity import ProcessIdentity
from engine.runs.purge import purge
from engine.storage.library import Library, keep_daily_copy
from engine.storage.temp_folders import remove_orphans
from engine.storage.uploads import discard_upload, sweep_uploads
from engine.workspace import Workspace

POLL_S = 0.2
BACKUP_CHECK_S = 3600.0
CONCLUDE_S = (0.5, 2, 5, 15, 30)  # waits between the tries to write down how a job ended
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleTimeouts:
    """How long the worker waits for work, in seconds: until it gives up the model, and until it ends."""

    idle_s: float = 600.0
    exit_s: float = 3600.0


class Worker:
    """Serves one queue. `end` may be called from a signal handler or another thread.

    `devices` are the names by which processes are kept to some of the GPUs, see engine.hardware.device_visibility;
    `kinds` is the
    "module:NAME" of the queue's kinds, for a worker that takes this one's place.
    """

    def __init__(
        self, queue: JobQueue, patience: IdleTimeouts, devices: Sequence[str] = ("",), kinds: str | None = None
    ) -> None:
        self._queue, self._patience, self._devices = queue, patience, devices
        self._workspace, self._kinds = queue.store.workspace, kinds
        self._successor: dict[str, str] | None = None  # the environment of the worker that is to follow
        self._model = ModelCache()
        self._identity = ProcessIdentity.current()
        self._told = False  # no Event: a signal handler that sets one may have interrupted whoever holds its lock
        self._lanes = JobSlots(len(devices))

    def end(self) -> None:
        self._told = True

    def run(self, lock: int | None) -> None:
        """Serve until told to end or idle for long. `lock` is the descriptor of the worker lock, which this lets go of.

        A job filed while the worker was ending may have seen the lock still held, and so have started no other worker:
        hence one more look at the queue after letting go.
        """
        while lock is not None:
            self._lanes = JobSlots(len(self._devices))
            with self._lanes.closed_after(self.end):
                self._tidy()
                self._serve()
            self._model.release()
            self._show("ended")
            os.close(lock)
            if self._successor is not None:
                ensure_worker(self._workspace, kinds=self._kinds, environment=self._successor)
                return
            more = not self._told and self._queue.is_waiting()
            lock = try_lock(self._workspace.worker_lock) if more else None

    def _tidy(self) -> None:
        """Put right what a worker that was killed left behind, and watch on what goes on without it."""
        self._queue.reconcile()
        if swept := remove_orphans(self._workspace):
            log.info("Removed %d half-written folders.", swept)
        keep_daily_copy(self._workspace)
        purge(self._queue.store)
        sweep_uploads(self._workspace, self._wanted_files())
        for job in self._queue.adopt(self._identity):
            self._start(job)

    def _wanted_files(self) -> list[Path]:
        """The files and folders of the jobs that are not over."""
        return [path for job in self._queue.list(("queued", *ACTIVE), limit=1000) for path in files_of(job)]

    def _serve(self) -> None:
        self._show_lanes()
        unused_since = idle_since = copied_at = time.monotonic()  # the model, the worker, the database
        while not self._told:
            if self._lanes.collect():
                self._show_lanes()
            job = self._claim()
            if job is not None:
                self._start(job)
                continue
            now_s = time.monotonic()
            unused_since = unused_since if self._lanes.room.inside else now_s
            idle_since = now_s if self._lanes.jobs else idle_since
            if now_s - copied_at > BACKUP_CHECK_S:
                keep_daily_copy(self._workspace)
                copied_at = now_s
            if not self._lanes.jobs and self._gives_way():
                return
            if now_s - idle_since > self._patience.exit_s:
                return
            if now_s - unused_since > self._patience.idle_s or self._workspace.release_flag.exists():
                self._release()
            self._lanes.wait(POLL_S)

    def _gives_way(self) -> bool:
        """Whether the next job was filed under another environment: a worker that has it takes this one's place."""
        try:
            awaited = self._queue.awaited_environment()
        except StoreError:
            return False
        if awaited is None:
            return False
        log.info("The next job was filed under another environment: %s.", difference(awaited, recorded_environment()))
        self._successor = awaited
        return True

    def _start(self, job: Job) -> None:
        """Let a job run. The model that is kept gives way to what another process does on the device."""
        need = self._queue.need_of(job.kind, job.resources)
        if need.devices and not need.inside:
            self._release()
        self._lanes.start(job, self._run, inside=need.inside)
        self._show_lanes()

    def _claim(self) -> Job | None:
        try:
            return self._queue.claim(self._identity, self._lanes.room)
        except StoreError as error:
            log.warning("No job can be taken now: %s", error)
            self._lanes.wait(CONCLUDE_S[0])
            return None

    def _release(self) -> None:
        """Give the model's memory back, unless a job computes with it."""
        if not self._lanes.room.inside:
            return
        self._workspace.release_flag.unlink(missing_ok=True)
        if self._model.release():
            self._show_lanes()

    def _run(self, job: Job) -> None:
        with job_log(self._workspace.job_log(job.id), job.id), Heartbeat(self._queue, job.id):
            log.info("Job %s (%s) begins.", job.id, job.kind)
            outcome = self._outcome(job)
            log.log(logging.ERROR if outcome.status == "failed" else logging.INFO, "Job %s is %s", job.id, outcome)
        self._conclude(job, outcome)

    def _outcome(self, job: Job) -> "Outcome":
        """Run a job to its end. Its top frame: the only place where any exception is caught."""
        inside = self._queue.need_of(job.kind, job.resources).inside
        model = (
            self._model if inside else ModelCache(with_rewards=False)
        )  # what is only watched has no part in the one that is kept
        try:
            return Outcome(status="done", result=self._drain(job, model))
        except JobCancelled as error:
            return Outcome(status="cancelled", error=str(error))
        except WorkerShutdown:
            return Outcome(status="queued")
        except JobLostError as error:
            return Outcome(status="lost", error=str(error))
        except DailiesError as error:
            return Outcome(status="failed", error=str(error))
        except Exception as error:
            log.exception("Job %s failed unexpectedly.", job.id)
            model.release()
            return Outcome(status="failed", error=unexpected(error, job.id))

    def _drain(self, job: Job, model: ModelCache) -> dict[str, Any]:
        """The job's result. Raises Cancelled or ToldToEnd between two steps, and whatever the handler raises."""
        reporter = ProgressReporter(self._queue, job.id)
        context = JobContext(
            store=self._queue.store,
            model=model,
            resources=read_resources(job.resources),
            visible=visible_devices_env(self._devices, self._queue.devices_of(job.id)),
            handle=job.progress.handle if job.progress else None,
        )
        with closing(kind_of(job.kind, self._queue.kinds).start(job.config, context)) as steps:
            while True:
                try:
                    progress = next(steps)
                except StopIteration as end:
                    return end.value
                reporter.report(progress)
                if self._told:
                    steps.throw(WorkerShutdown())
                    raise WorkerShutdown

    def _conclude(self, job: Job, outcome: "Outcome") -> None:
        """Write down how a job ended, again and again if the database cannot be written now.

        Raises StoreError in the end: the worker then ends too, and the next one finds the job lost.
        """
        for wait_s in (*CONCLUDE_S, None):
            try:
                if outcome.status == "queued":
                    return self._queue.put_back(job.id)
                self._queue.finish(job.id, outcome.status, result=outcome.result, error=outcome.error)
                return self._discard_uploads(job) if outcome.status == "done" else None
            except StoreError as error:
                if wait_s is None:
                    raise
                log.warning("The end of job %s cannot be recorded now: %s", job.id, error)
                time.sleep(wait_s)

    def _discard_uploads(self, job: Job) -> None:
        """Remove the uploads of a job that is done; any other end can be followed by another try."""
        wanted = self._wanted_files()
        for path in files_of(job):
            if path not in wanted:
                discard_upload(self._workspace, path)

    def _show_lanes(self) -> None:
        """Say what the worker does: its oldest job, if it has any."""
        jobs = self._lanes.jobs
        self._show("busy" if jobs else "idle", jobs[0].id if jobs else None)

    def _show(self, state: Literal["idle", "busy", "ended"], job_id: str | None = None) -> None:
        shown = WorkerState(
            worker=self._identity,
            state=state,
            job_id=job_id,
            model=self._model.key,
            database=self._queue.store.database.name,
            environment=recorded_environment(),
        )
        try:
            write_state(self._workspace, shown)
        except OSError as error:
            log.warning("The worker's state cannot be shown now: %s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended; "queued": it did not, and somebody else is to go on."""

    status: Status
    result: dict[str, Any] | None = None
    error: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.error}" if self.error else self.status


def unexpected(error: Exception, job_id: str) -> str:
    """One sentence for an error that nobody foresaw; the rest is in the log."""
    what = str(error).strip().splitlines()
    return (
        f"Unexpected {type(error).__name__}{f': {what[0][:200]}' if what else ''}. This is a fault of Dailies or of a "
        f"library; `dailies jobs logs {job_id}` has the traceback."
    )


@contextmanager
def job_log(path: Path, job_id: str) -> Iterator[None]:
    """What this thread logs meanwhile, and those named after the job, also goes to the job's own file.

    A job whose file cannot be written runs without.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        log.warning("The job has no log of its own: %s", error)
        yield
        return
    own = threading.get_ident()
    handler.addFilter(lambda record: record.thread == own or job_id in (record.threadName or ""))
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def files_of(job: Job) -> list[Path]:
    """The file or folder that a job reads."""
    return [Path(path) for name in ("path", "folder") if (path := job.config.get(name))]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.jobs.worker", description=__doc__)
    parser.add_argument("--workspace", help="folder (default: $DAILIES_WORKSPACE or ./workspace)")
    parser.add_argument("--idle-s", type=float, default=os.environ.get("DAILIES_IDLE_S", IdleTimeouts().idle_s))
    parser.add_argument("--exit-s", type=float, default=os.environ.get("DAILIES_EXIT_S", IdleTimeouts().exit_s))
    parser.add_argument("--kinds", default="engine.jobs.kinds:KINDS", help="table of job kinds, as module:NAME")
    parser.add_argument("--lock", type=int, help="descriptor of the worker lock that the starter took")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: ended as it should, or another worker is there; 2: the workspace cannot be used."""
    options = parse(argv)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.captureWarnings(True)
    try:
        workspace = Workspace.from_env(options.workspace).prepare()
        lock = try_lock(workspace.worker_lock) if options.lock is None else options.lock
        if lock is None:
            log.info("Another worker serves %s.", workspace.root)
            return 0
        os.set_inheritable(lock, False)
        queue = JobQueue(Library(workspace), load_kinds(options.kinds))
        worker = Worker(
            queue, IdleTimeouts(idle_s=options.idle_s, exit_s=options.exit_s), devices_here(), options.kinds
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.end())
        worker.run(lock)
    except DailiesError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
