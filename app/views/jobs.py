"""What the job strip shows: every job that is not over, and those that ended badly a moment ago."""

import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.context import AppContext
from app.text import general, training
from app.text import jobs as text_jobs
from app.text.modes import keyframes_of
from app.views.clips import moment
from engine.hardware.job_environment import difference
from engine.jobs.device_leases import Demand
from engine.jobs.heartbeat_age import is_silent
from engine.jobs.spec import Job
from engine.jobs.worker_control import reconcile_and_ensure_worker, worker_state
from engine.storage.library import now

OVERLAYS = "overlays"
BAD_ENDS = ("failed", "cancelled", "lost")
MENTIONED_FOR = timedelta(minutes=10)  # a bad end stays on the page so long, unless it is dismissed
SHOWN = 12


def strip(desk: AppContext, kind: str | Collection[str]) -> dict[str, Any]:
    """The value of a strip of one kind of jobs or several, oldest first, as they will be done.

    `at` orders answers that overtake each other on their way to the browser: seconds of a clock that nobody sets.
    """
    at = time.monotonic()
    reconcile_and_ensure_worker(desk.queue)
    jobs, reasons = [job for job in desk.queue.list(kind=kind, limit=100) if is_shown(job)], Reasons(desk)
    return {"jobs": [job_card(job, reasons.of(job)) for job in reversed(jobs[:SHOWN])], "at": at}


class Reasons:
    """Why queued jobs wait; what is the same for many jobs is asked once."""

    def __init__(self, desk: AppContext) -> None:
        self._queue, self._paused = desk.queue, desk.queue.is_paused
        self._worker = worker_state(desk.workspace)
        self._holders: dict[Demand, Job | None] = {}

    def of(self, job: Job) -> str:
        """A pause, a worker with another environment, or another job that has the device; "" if none of these."""
        if job.status != "queued":
            return ""
        if self._paused:
            return training.HELD
        worker = self._worker
        if worker is not None and job.environment is not None and job.environment != worker.environment:
            return training.other_environment(difference(job.environment, worker.environment))
        need = self._queue.need_of(job.kind, job.resources)
        if need not in self._holders:
            self._holders[need] = self._queue.holder(need)
        return _behind(self._holders[need], job)


def held_up(desk: AppContext, job: Job) -> str:
    """Why one job waits."""
    return Reasons(desk).of(job)


def _behind(holder: Job | None, job: Job) -> str:
    if holder is None:
        return ""
    at = holder.progress
    what = training.holding(holder.kind, title(holder))
    return training.behind(what, at.step if at else 0, at.of if at else 0, first=job.position == 1)


def is_shown(job: Job) -> bool:
    if job.status in BAD_ENDS:
        return job.ended_at is not None and now() - job.ended_at < MENTIONED_FOR
    return not job.is_over


def job_card(job: Job, hold: str = "") -> dict[str, Any]:
    """One job: what it makes, what it does now, how far it is (0..1, None while nobody knows) and how long it takes.

    `hold` is why queued jobs wait, when it is not for each other."""
    silent = is_silent(job)
    return {
        "id": job.id,
        "status": job.status,
        "over": job.is_over,
        "title": title(job),
        "line": text_jobs.silent(moment(job.heartbeat_at)) if silent and job.heartbeat_at else hold or line(job),
        "eta": general.time_left(job.progress.eta_s) if job.progress and job.status == "running" and not silent else "",
        "fraction": fraction(job),
        "can_cancel": job.status in ("queued", "running") and not silent,
        "can_kill": silent,
        "can_retry": job.status in BAD_ENDS,
    }


def title(job: Job) -> str:
    requests = job.config.get("requests")
    if requests:
        return f"{general.count(len(requests), 'take')}: {requests[0]['prompt']}"
    if "request" in job.config:
        return keyframes_of(job.config["request"]["prompt"])
    if named := job.config.get("run") or job.config.get("curriculum") or job.config.get("key"):
        return str(named)
    if "preset" in job.config:
        return str(job.config["preset"]["title"])
    if "folder" in job.config:
        return general.folder(Path(job.config["folder"]).name)
    if job.kind == OVERLAYS:
        return general.OVERLAYS_JOB
    return job.config.get("prompt") or general.count(len(job.config.get("clip_ids", ())) or 1, "clip")


def line(job: Job) -> str:
    """What the job does now, or how it ended."""
    if job.status == "queued":
        return general.waiting(job.position)
    if job.status == "stopping":
        return general.STOPPING
    if job.is_over:
        return job.error or general.JOB_ENDS.get(job.status, "")
    return (
        general.phase(job.progress.phase, job.progress.step, job.progress.of)
        if job.progress
        else general.PHASES["start"]
    )


def fraction(job: Job) -> float | None:
    if job.status != "running" or job.progress is None or job.progress.of <= 1:
        return None
    return round(min(1.0, job.progress.step / job.progress.of), 3)


def clip_ids(job: Job) -> list[str]:
    """The clips that a finished job made."""
    return list((job.result or {}).get("clip_ids", ()))
