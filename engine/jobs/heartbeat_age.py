"""How long a job has given no sign of life, without trusting a clock that can be set.

On the host that runs a job its heartbeats are compared on that host's monotonic clock, which all processes share
(Linux: CLOCK_MONOTONIC). Of a job on another host, an observer measures how long it has seen the same heartbeat.
"""

import time
from datetime import datetime, timedelta

from engine.jobs.spec import ACTIVE, Job
from engine.process_identity import boot_id
from engine.storage.library import now

SILENT_S = 60.0  # without a heartbeat, which comes every 5 s, a job is shown as silent


def silent_s(job: Job) -> float:
    """Seconds since the last heartbeat of a running job, 0 for any other; between hosts as good as their clocks."""
    if job.status not in ACTIVE or job.heartbeat_at is None:
        return 0.0
    worker = job.worker
    if worker is not None and worker.is_local and worker.boot_id == boot_id() and job.heartbeat_s is not None:
        return max(0.0, time.monotonic() - job.heartbeat_s)
    return max(0.0, (now() - job.heartbeat_at).total_seconds())


def is_silent(job: Job) -> bool:
    """Whether a running job has given no sign of life for a minute: its worker is stopped, or hangs."""
    return silent_s(job) > SILENT_S


class Observer:
    """Remembers when it saw each job's heartbeat change, for jobs of other hosts."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime | None, float]] = {}

    def silent_for(self, job: Job, patience: timedelta) -> bool:
        """Whether the job's heartbeat has been the same for so long, as far as this observer has seen."""
        now_s = time.monotonic()
        heartbeat, since_s = self._seen.get(job.id, (None, now_s))
        if job.id not in self._seen or heartbeat != job.heartbeat_at:
            self._seen[job.id] = (job.heartbeat_at, now_s)
            return False
        return now_s - since_s > patience.total_seconds()

    def keep(self, job_ids: set[str]) -> None:
        """Forget all other jobs."""
        self._seen = {job_id: seen for job_id, seen in self._seen.items() if job_id in job_ids}
