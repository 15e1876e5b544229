"""Progress and heartbeats of a running job in the database, at a rate that costs little."""

import logging
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from engine.errors import JobCancelled, StoreError
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobProgress

REPORT_S = 0.2
PULSE_S = 5.0

log = logging.getLogger(__name__)


class EtaEstimator:
    """Estimates the time left in a phase from the steps of that phase so far."""

    def __init__(self) -> None:
        self._phase, self._first_step, self._first_s = "", 0, 0.0

    def timed(self, progress: JobProgress, now_s: float) -> JobProgress:
        """Return the progress with `eta_s` in seconds; None until one step of the phase was timed."""
        if progress.phase != self._phase or progress.step < self._first_step:
            self._phase, self._first_step, self._first_s = progress.phase, progress.step, now_s
        done = progress.step - self._first_step
        if done == 0:
            return progress
        eta_s = (now_s - self._first_s) / done * max(0, progress.of - progress.step)
        return replace(progress, eta_s=round(eta_s, 2))


class ProgressReporter:
    """Writes a job's progress to its row: each new phase at once, steps at most every `REPORT_S` seconds."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id, self._estimator = queue, job_id, EtaEstimator()
        self._phase, self._reported_s = "", 0.0

    def report(self, progress: JobProgress) -> None:
        """Record progress. Raises JobCancelled when the job should stop; a failed write is only logged."""
        now_s = time.monotonic()
        timed = self._estimator.timed(progress, now_s)
        if progress.phase == self._phase and now_s - self._reported_s < REPORT_S:
            return
        self._phase, self._reported_s = progress.phase, now_s
        try:
            self._queue.heartbeat(self._job_id, timed)
        except StoreError as error:
            log.warning("Progress was not recorded: %s", error)


class Heartbeat:
    """A thread that records a sign of life every `PULSE_S` seconds, independent of the job's steps."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id = queue, job_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"pulse-{job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(PULSE_S):
            try:
                self._queue.heartbeat(self._job_id)
            except JobCancelled:
                return  # the job is cancelled by its own next report
            except StoreError as error:
                log.warning("The heartbeat was not recorded: %s", error)
