"""The age of a job's heartbeat, without trusting a clock that can be set.

On the host that runs a job its heartbeats are compared on that host's monotonic clock, which all processes share
(Linux: CLOCK_MONOTONIC). For a job on another host, an observer measures how long its heartbeat has not changed.
"""

import time
from datetime import datetime, timedelta

from engine.clock import now
from engine.jobs.spec import ACTIVE, Job
from engine.process_identity import boot_id

SILENT_S = 60.0  # without a heartbeat, which comes every 5 s, a job is shown as silent


def silent_s(job: Job) -> float:
    """Return seconds since a running job's last heartbeat, else 0; between hosts as exact as their clocks."""
    if job.status not in ACTIVE or job.heartbeat_at is None:
        return 0.0
    worker = job.worker
    if worker is not None and worker.is_local and worker.boot_id == boot_id() and job.heartbeat_s is not None:
        return max(0.0, time.monotonic() - job.heartbeat_s)
    return max(0.0, (now() - job.heartbeat_at).total_seconds())


def is_silent(job: Job) -> bool:
    """Return True for a running job without a heartbeat for a minute: its worker is stopped, or hangs."""
    return silent_s(job) > SILENT_S


class Observer:
    """Remembers the time of each heartbeat's last change, for jobs of other hosts."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime | None, float]] = {}

    def silent_for(self, job: Job, patience: timedelta) -> bool:
        """Return True when this observer has seen the same heartbeat for longer than `patience`."""
        now_s = time.monotonic()
        heartbeat, since_s = self._seen.get(job.id, (None, now_s))
        if job.id not in self._seen or heartbeat != job.heartbeat_at:
            self._seen[job.id] = (job.heartbeat_at, now_s)
            return False
        return now_s - since_s > patience.total_seconds()

    def keep(self, job_ids: set[str]) -> None:
        """Forget all other jobs."""
        self._seen = {job_id: seen for job_id, seen in self._seen.items() if job_id in job_ids}
