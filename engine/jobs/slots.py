"""The jobs that a worker has under way: one that computes in its process, and those that it only watches beside it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from engine.jobs.device_leases import Capacity
from engine.jobs.spec import Job

ASIDE_JOBS = 32  # watched at once; the others wait in our queue instead of a cluster's
LANE = "lane-"


class JobSlots:
    """`inside` has one thread, the same for all its jobs: what libraries keep for each thread is kept once."""

    def __init__(self, num_devices: int) -> None:
        self._num_devices = num_devices
        self._inside = ThreadPoolExecutor(1, f"{LANE}inside")
        self._aside = ThreadPoolExecutor(ASIDE_JOBS, f"{LANE}aside")
        self._running: dict[Future[None], tuple[Job, bool]] = {}
        self._ended = threading.Event()

    @property
    def jobs(self) -> list[Job]:
        """The oldest first."""
        return [job for job, _ in self._running.values()]

    @property
    def room(self) -> Capacity:
        inside = sum(inside for _, inside in self._running.values())
        aside = len(self._running) - inside
        return Capacity(devices=self._num_devices, inside=not inside, aside=aside < ASIDE_JOBS, idle=not self._running)

    def start(self, job: Job, run: Callable[[Job], None], *, inside: bool) -> None:
        work = (self._inside if inside else self._aside).submit(run, job)
        self._running[work] = (job, inside)
        work.add_done_callback(lambda _: self._ended.set())

    def wait(self, seconds: float) -> None:
        """Until a job ends, or for so long."""
        self._ended.wait(seconds)
        self._ended.clear()

    def collect(self) -> bool:
        """Forget the jobs that ended; whether there were any. Raises what one of them raised."""
        ended = [work for work in self._running if work.done()]
        for work in ended:
            del self._running[work]
            work.result()
        return bool(ended)

    @contextmanager
    def closed_after(self, tell: Callable[[], None]) -> Iterator[None]:
        """However the block ends: `tell` the jobs that still run to end, and wait until they have."""
        try:
            yield
        finally:
            if self._running:
                tell()
            self._inside.shutdown()
            self._aside.shutdown()
