"""Sees to the queue while nobody looks at the page: jobs whose worker was killed at night are not left lying."""

import logging
import threading
import time

from engine.errors import DailiesError
from engine.jobs.queue import JobQueue
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.storage.library import keep_daily_copy

PERIOD_S = 5.0
BACKUP_CHECK_S = 3600.0

log = logging.getLogger(__name__)


class QueueMonitor(threading.Thread):
    """Every few seconds: what is lost is marked as lost, and a worker is started if there is something for one; once a
    day: a copy of the database.

    Any number of pages may do so at once.
    """

    def __init__(self, queue: JobQueue, period_s: float = PERIOD_S) -> None:
        super().__init__(name="caretaker", daemon=True)
        self._queue, self._period_s = queue, period_s
        self._over = threading.Event()

    def run(self) -> None:
        problem, looked_s = "", time.monotonic()
        while not self._over.wait(self._period_s):
            if time.monotonic() - looked_s > BACKUP_CHECK_S:
                looked_s = time.monotonic()
                keep_daily_copy(self._queue.store.workspace)
            try:
                reconcile_and_ensure_worker(self._queue)
                problem = ""
            except DailiesError as error:
                if str(error) != problem:  # once, not every few seconds
                    log.warning("The queue is not seen to now: %s", error)
                problem = str(error)

    def end(self) -> None:
        self._over.set()
        self.join()
