"""The worker: `python -m engine.jobs.worker` runs queued jobs, and keeps a model loaded between them.

Jobs that compute in this process run one after another and share its model. Jobs whose work is done by a process of
their own, here or on a cluster, are monitored, each by a thread; see engine.jobs.device_leases.

A workspace has one worker, which holds the workspace's worker lock and is detached from its starter. After `idle_s`
without a job it releases the model, after `exit_s` it ends. SIGTERM returns the running jobs to the queue and ends it.
When it is killed, the processes that it monitored continue, and the next worker adopts them.
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
from engine.jobs.spec import UNFINISHED, Job, Status
from engine.jobs.worker_control import ensure_worker
from engine.jobs.worker_state import WorkerState, write_state
from engine.process_identity import ProcessIdentity
from engine.runs.purge import purge
from engine.storage.library import Library, keep_daily_copy
from engine.storage.temp_folders import remove_orphans
from engine.storage.uploads import discard_upload, sweep_uploads
from engine.workspace import Workspace

POLL_S = 0.2
TIDY_S = 3600.0
CONCLUDE_S = (0.5, 2, 5, 15, 30)  # waits between attempts to record the end of a job
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleTimeouts:
    """Seconds without work until the worker releases the model, and until it ends."""

    idle_s: float = 600.0
    exit_s: float = 3600.0


class Worker:
    """Serves one queue. `end` may be called from a signal handler or another thread.

    `devices` are the names by which processes are restricted to some GPUs, see engine.hardware.device_visibility.
    `kinds` is the "module:NAME" of the queue's kinds, for a worker that replaces this one.
    """

    def __init__(
        self, queue: JobQueue, timeouts: IdleTimeouts, devices: Sequence[str] = ("",), kinds: str | None = None
    ) -> None:
        self._queue, self._timeouts, self._devices = queue, timeouts, devices
        self._workspace, self._kinds = queue.store.workspace, kinds
        self._successor: dict[str, str] | None = None  # the environment of the next worker
        self._model = ModelCache()
        self._identity = ProcessIdentity.current()
        self._is_ending = False  # no Event: a signal handler that sets one may have interrupted the holder of its lock
        self._slots = JobSlots(len(devices))

    def end(self) -> None:
        self._is_ending = True

    def run(self, lock: int | None) -> None:
        """Serve until `end` is called or the worker is idle for long; then close the worker lock `lock`.

        A job that was submitted while the worker was ending may have found the lock held, and started no other worker.
        So the queue is checked once more after the release.
        """
        while lock is not None:
            self._slots = JobSlots(len(self._devices))
            with self._slots.closed_after(self.end):
                self._recover()
                self._serve()
            self._model.release()
            self._publish_state("ended")
            os.close(lock)
            if self._successor is not None:
                ensure_worker(self._workspace, kinds=self._kinds, environment=self._successor)
                return
            more = not self._is_ending and self._queue.is_waiting()
            lock = try_lock(self._workspace.worker_lock) if more else None

    def _recover(self) -> None:
        """Clean up after a worker that was killed, and adopt its running processes."""
        self._queue.reconcile()
        if removed := remove_orphans(self._workspace):
            log.info("Removed %d half-written folders.", removed)
        for preview in self._workspace.jobs.glob("*.jpg"):
            preview.unlink(missing_ok=True)
        purge(self._queue.store)
        self._tidy()
        for job in self._queue.adopt(self._identity):
            self._start(job)

    def _tidy(self) -> None:
        """Copy the database, daily, and remove old uploads."""
        keep_daily_copy(self._workspace)
        try:
            sweep_uploads(self._workspace, self._needed_files())
        except StoreError as error:
            log.warning("Old uploads cannot be removed now: %s", error)

    def _needed_files(self) -> list[Path]:
        """Return the files and folders of the jobs that are not over."""
        return [path for job in self._queue.list(UNFINISHED, limit=None) for path in files_of(job)]

    def _serve(self) -> None:
        self._publish_jobs()
        unused_since = idle_since = tidied_at = time.monotonic()  # of the model, the worker, the workspace
        while not self._is_ending:
            if self._slots.collect():
                self._publish_jobs()
            job = self._claim()
            if job is not None:
                self._start(job)
                continue
            now_s = time.monotonic()
            unused_since = unused_since if self._slots.room.in_process else now_s
            idle_since = now_s if self._slots.jobs else idle_since
            if now_s - tidied_at > TIDY_S:
                self._tidy()
                tidied_at = now_s
            if not self._slots.jobs and self._must_be_replaced():
                return
            if now_s - idle_since > self._timeouts.exit_s:
                return
            if now_s - unused_since > self._timeouts.idle_s or self._workspace.release_flag.exists():
                self._release_model()
            self._slots.wait(POLL_S)

    def _must_be_replaced(self) -> bool:
        """Return True when the next job has another environment, which needs another worker."""
        try:
            awaited = self._queue.awaited_environment()
        except StoreError:
            return False
        if awaited is None:
            return False
        log.info(
            "The next job was submitted under another environment: %s.", difference(awaited, recorded_environment())
        )
        self._successor = awaited
        return True

    def _start(self, job: Job) -> None:
        """Start a job. The loaded model is released for a job whose own process uses the device."""
        need = self._queue.need_of(job.kind, job.resources)
        if need.devices and not need.in_process:
            self._release_model()
        self._slots.start(job, self._run, in_process=need.in_process)
        self._publish_jobs()

    def _claim(self) -> Job | None:
        try:
            return self._queue.claim(self._identity, self._slots.room)
        except StoreError as error:
            log.warning("No job can be taken now: %s", error)
            self._slots.wait(CONCLUDE_S[0])
            return None

    def _release_model(self) -> None:
        """Release the model, unless a job uses it."""
        if not self._slots.room.in_process:
            return
        self._workspace.release_flag.unlink(missing_ok=True)
        if self._model.release():
            self._publish_jobs()

    def _run(self, job: Job) -> None:
        with job_log(self._workspace.job_log(job.id), job.id), Heartbeat(self._queue, job.id):
            log.info("Job %s (%s) begins.", job.id, job.kind)
            outcome = self._outcome(job)
            log.log(logging.ERROR if outcome.status == "failed" else logging.INFO, "Job %s is %s", job.id, outcome)
        self._conclude(job, outcome)

    def _outcome(self, job: Job) -> "Outcome":
        """Run a job to its end. Its top frame: the only place where any exception is caught."""
        in_process = self._queue.need_of(job.kind, job.resources).in_process
        model = self._model if in_process else ModelCache(with_rewards=False)  # a monitored job does not use our model
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
        """Return the job's result.

        Raises JobCancelled or WorkerShutdown between steps, and the handler's errors.
        """
        reporter = ProgressReporter(self._queue, job.id)
        context = JobContext(
            store=self._queue.store,
            model=model,
            resources=read_resources(job.resources),
            visible=visible_devices_env(self._devices, self._queue.devices_of(job.id)),
            handle=job.progress.handle if job.progress else None,
            preview=self._workspace.job_preview(job.id),
        )
        with closing(kind_of(job.kind, self._queue.kinds).start(job.config, context)) as steps:
            while True:
                try:
                    progress = next(steps)
                except StopIteration as end:
                    return end.value
                reporter.report(progress)
                if self._is_ending:
                    steps.throw(WorkerShutdown())
                    raise WorkerShutdown

    def _conclude(self, job: Job, outcome: "Outcome") -> None:
        """Record the end of a job, with retries while the database cannot be written.

        A job whose result cannot be stored has failed. Raises StoreError after the last attempt: the worker then ends
        too, and the next one marks the job as lost.
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
            except DailiesError as error:
                if outcome.result is None:
                    raise
                return self._conclude(job, Outcome(status="failed", error=str(error)))

    def _discard_uploads(self, job: Job) -> None:
        """Remove the uploads of a job that is done; after any other end it can be tried again."""
        files = files_of(job)
        needed = self._needed_files() if files else []
        for path in files:
            if path not in needed:
                discard_upload(self._workspace, path)

    def _publish_jobs(self) -> None:
        """Publish the worker's state with its oldest job, if any."""
        jobs = self._slots.jobs
        self._publish_state("busy" if jobs else "idle", jobs[0].id if jobs else None)

    def _publish_state(self, state: Literal["idle", "busy", "ended"], job_id: str | None = None) -> None:
        published = WorkerState(
            worker=self._identity,
            state=state,
            job_id=job_id,
            model=self._model.key,
            database=self._queue.store.database.name,
            environment=recorded_environment(),
        )
        try:
            write_state(self._workspace, published)
        except OSError as error:
            log.warning("The worker's state cannot be shown now: %s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a job; "queued": it is not over, and another worker continues it."""

    status: Status
    result: dict[str, Any] | None = None
    error: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.error}" if self.error else self.status


def unexpected(error: Exception, job_id: str) -> str:
    """Return one sentence for an unexpected error; the traceback is in the log."""
    lines = str(error).strip().splitlines()
    return (
        f"Unexpected {type(error).__name__}{f': {lines[0][:200]}' if lines else ''}. This is a fault of Dailies or of "
        f"a library; `dailies jobs logs {job_id}` has the traceback."
    )


@contextmanager
def job_log(path: Path, job_id: str) -> Iterator[None]:
    """Copy log records of this thread, and of threads named after the job, to the job's file.

    A job whose file cannot be written runs without it.
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
    """Return the file or folder that a job reads."""
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
    """Run the worker.

    Exit code 0: ended normally, or another worker runs; 2: the workspace cannot be used.
    """
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
