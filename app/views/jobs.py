"""Jobs as the page shows them: title, phase, remaining time, and the reason why a queued one waits."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from app.context import AppContext
from app.text import batches, general, score, system, training
from app.text import jobs as text_jobs
from app.text.modes import keyframes_of
from app.text.numbers import time_left
from app.views.clips import moment
from engine.hardware.job_environment import difference
from engine.jobs.device_leases import Demand
from engine.jobs.heartbeat_age import is_silent
from engine.jobs.spec import ACTIVE, Job
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.jobs.worker_state import worker_state
from engine.storage.uploads import is_kept

NAMING = ("run", "curriculum", "key", "judge")  # keys of a config whose value is the title of the job
GENERATE = "generate"
TITLES = {"overlays": general.OVERLAYS_JOB, "inspect": system.FINDINGS}  # of kinds whose jobs differ in nothing
LOOKED_AT, PROMPTS_SHOWN = 200, 30
BAD_ENDS = ("failed", "cancelled", "lost")


def watched_jobs(context: AppContext, kind: str | Collection[str], *, campaigns: bool = False) -> dict[str, Any]:
    """Return the value of a `JobWatch`: the ids of the active jobs of its kinds.

    `at` (seconds of a monotonic clock) orders it among the answers of the queue.
    """
    at = time.monotonic()
    reconcile_and_ensure_worker(context.queue)
    jobs = context.queue.list(("queued", *ACTIVE), kind)
    return {"active": [job.id for job in jobs if is_of_campaign(job) == campaigns], "at": at}


class Reasons:
    """Reasons why queued jobs wait; what many jobs share is queried once."""

    def __init__(self, context: AppContext) -> None:
        self._queue, self._paused = context.queue, context.queue.is_paused
        self._worker = worker_state(context.workspace)
        self._holders: dict[Demand, Job | None] = {}

    def of(self, job: Job) -> str:
        """Return the reason: a pause, a worker with another environment or a job on the device; "" if none."""
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


def _behind(holder: Job | None, job: Job) -> str:
    if holder is None:
        return ""
    at = holder.progress
    what = training.holding(holder.kind, title(holder))
    return training.behind(what, at.step if at else 0, at.of if at else 0, first=job.position == 1)


def job_card(job: Job, hold: str = "") -> dict[str, Any]:
    """Return one job: title, phase, fraction done (0..1, None if unknown) and remaining time.

    `hold` is the reason why a queued job waits, if it is not just its turn.
    """
    silent = is_silent(job)
    return {
        "id": job.id,
        "status": job.status,
        "over": job.is_over,
        "title": title(job),
        "line": text_jobs.silent(moment(job.heartbeat_at)) if silent and job.heartbeat_at else hold or line(job),
        "eta": time_left(job.progress.eta_s) if job.progress and job.status == "running" and not silent else "",
        "fraction": fraction(job),
        "of_campaign": is_of_campaign(job),
        "can_cancel": job.status in ("queued", "running") and not silent,
        "can_kill": silent,
        "can_retry": job.status in BAD_ENDS,
    }


def is_of_campaign(job: Job) -> bool:
    """Return True for a "generate" job that makes the clips of a campaign."""
    return job.kind == GENERATE and bool(job.config.get("campaign"))


def _of_one_prompt(job: Job) -> bool:
    return len({request["prompt"] for request in job.config["requests"]}) == 1


def is_for_generate(job: Job) -> bool:
    """Return True for a "generate" job whose clips Generate shows: of one prompt, a list or a sweep."""
    return job.kind == GENERATE and not is_of_campaign(job) and bool(job.config.get("axes") or _of_one_prompt(job))


def used_prompts(context: AppContext) -> list[str]:
    """Return the prompts of the last jobs of one prompt, the newest first, each once."""
    jobs = context.queue.list(kind=("generate", "keyframes"), limit=LOOKED_AT)
    prompts = [
        job.config["request"]["prompt"] if "request" in job.config else job.config["requests"][0]["prompt"]
        for job in jobs
        if "request" in job.config or (_of_one_prompt(job) and not is_of_campaign(job))
    ]
    return list(dict.fromkeys(prompts))[:PROMPTS_SHOWN]


def title(job: Job) -> str:
    requests = job.config.get("requests")
    if requests:
        axes = [(axis["name"], len(axis["values"])) for axis in job.config.get("axes", ())]
        shape = f" ({batches.shape(axes)})" if axes else ""
        if is_of_campaign(job):
            return text_jobs.clips_of_campaign(job.config["campaign"], len(requests))
        return f"{general.count(len(requests), 'clip')}{shape}: {requests[0]['prompt']}"
    if "request" in job.config:
        return keyframes_of(job.config["request"]["prompt"])
    if named := next((job.config[name] for name in NAMING if job.config.get(name)), None):
        return str(named)
    if "preset" in job.config:
        return str(job.config["preset"]["title"])
    if "folder" in job.config:
        return folder_title(job)
    if job.kind in TITLES:
        return TITLES[job.kind]
    if job.config.get("path"):
        return Path(job.config["path"]).name
    return job.config.get("prompt") or general.count(len(job.config.get("clip_ids", ())) or 1, "clip")


def folder_title(job: Job) -> str:
    """Return the name of a scored folder; that of uploads is their number, once it is known."""
    folder = Path(job.config["folder"])
    if not is_kept(folder):
        return general.folder(folder.name)
    result = job.result or {}
    number = len(result.get("clip_ids", ())) + len(result.get("unread", ()))
    number = number or (job.progress.of if job.progress else 0)
    return score.uploads(number) if number else general.DROPPED


def line(job: Job) -> str:
    """Return the phase of a job, or how it ended."""
    if job.status == "queued":
        return general.waiting(job.position)
    if job.status == "stopping":
        return general.STOPPING
    if job.is_over:
        return job.reason or text_jobs.JOB_ENDS.get(job.status, "")
    return (
        text_jobs.phase(job.progress.phase, job.progress.step, job.progress.of)
        if job.progress
        else text_jobs.PHASES["start"]
    )


def fraction(job: Job) -> float | None:
    if job.status != "running" or job.progress is None or job.progress.of <= 1:
        return None
    return round(min(1.0, job.progress.step / job.progress.of), 3)


def clip_ids(job: Job) -> list[str]:
    """Return the ids of the clips that a finished job generated."""
    return list((job.result or {}).get("clip_ids", ()))
