"""Background thread that reconciles the queue and restarts the worker even when no page is open."""

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
    """Reconcile the queue and restart the worker every few seconds; back up the database daily.

    Several servers of one workspace may do so at the same time.
    """

    def __init__(self, queue: JobQueue, period_s: float = PERIOD_S) -> None:
        super().__init__(name="queue-monitor", daemon=True)
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
                    log.warning("The queue cannot be monitored: %s", error)
                problem = str(error)

    def end(self) -> None:
        self._over.set()
        self.join()
