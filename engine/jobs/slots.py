"""The running jobs of a worker: one in its process, and others in processes that it only monitors."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from engine.jobs.device_leases import Capacity
from engine.jobs.spec import Job

MAX_MONITORED_JOBS = 32  # monitored at once; the others wait in our queue instead of a cluster's
LANE = "lane-"


class JobSlots:
    """Threads of the running jobs.

    Jobs in this process share one thread, so libraries keep one thread-local state.
    """

    def __init__(self, num_devices: int) -> None:
        self._num_devices = num_devices
        self._in_process = ThreadPoolExecutor(1, f"{LANE}in_process")
        self._monitored = ThreadPoolExecutor(MAX_MONITORED_JOBS, f"{LANE}monitored")
        self._running: dict[Future[None], tuple[Job, bool]] = {}
        self._ended = threading.Event()

    @property
    def jobs(self) -> list[Job]:
        """The running jobs, oldest first."""
        return [job for job, _ in self._running.values()]

    @property
    def room(self) -> Capacity:
        in_process = sum(in_process for _, in_process in self._running.values())
        monitored = len(self._running) - in_process
        return Capacity(
            devices=self._num_devices,
            in_process=not in_process,
            monitored=monitored < MAX_MONITORED_JOBS,
            idle=not self._running,
        )

    def start(self, job: Job, run: Callable[[Job], None], *, in_process: bool) -> None:
        work = (self._in_process if in_process else self._monitored).submit(run, job)
        self._running[work] = (job, in_process)
        work.add_done_callback(lambda _: self._ended.set())

    def wait(self, seconds: float) -> None:
        """Wait until a job ends, at most `seconds`."""
        self._ended.wait(seconds)
        self._ended.clear()

    def collect(self) -> bool:
        """Remove the jobs that ended; return True if any did. Raises the error of a job that failed."""
        ended = [work for work in self._running if work.done()]
        for work in ended:
            del self._running[work]
            work.result()
        return bool(ended)

    @contextmanager
    def closed_after(self, request_end: Callable[[], None]) -> Iterator[None]:
        """At the end of the block, call `request_end` if jobs still run, and wait for all of them."""
        try:
            yield
        finally:
            if self._running:
                request_end()
            self._in_process.shutdown()
            self._monitored.shutdown()
