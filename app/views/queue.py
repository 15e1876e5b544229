"""Value of the header's queue: active and queued jobs, the jobs that ended last, and alarms of runs."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.context import AppContext
from app.text import general, modes, notices, training
from app.text import jobs as text
from app.views.clips import joined, moment
from app.views.jobs import Reasons, job_card
from engine.errors import DailiesError
from engine.files.log_tail import read_log
from engine.generation.clip_plan import DIRECT
from engine.jobs.job_rows import last_ended
from engine.jobs.spec import Job
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.request import GenerationRequest
from engine.runs.run import Run, alarms_since

SHOWN = 50  # queued jobs; each costs a query
ENDED_SHOWN, MOST_ENDED = 20, 1000


def queue_state(
    context: AppContext, ended: int = ENDED_SHOWN, *, with_alarms: bool = False, note: str = ""
) -> dict[str, Any]:
    """Return active jobs, the first `SHOWN` queued ones, and the `ended` jobs that ended last.

    `waiting` is the number of queued jobs, `more` a remark on those that are not listed. `note` reports the last
    action. `at` (seconds of a monotonic clock) lets the browser drop answers that arrive out of order.
    """
    at = time.monotonic()
    reconcile_and_ensure_worker(context.queue)
    jobs, counts = context.queue.board(SHOWN)
    reasons = Reasons(context)
    shown = sum(job.status == "queued" for job in jobs)
    last = last_ended(context.queue.store.database, min(max(1, ended), MOST_ENDED) + 1)
    return {
        "jobs": [queue_row(context, job, reasons.of(job)) for job in jobs],
        "waiting": counts["queued"],
        "more": training.more_waiting(counts["queued"] - shown),
        "ended": [queue_row(context, job) for job in last[:ended]],
        "older": len(last) > ended,
        "alarms": alarms(context) if with_alarms else None,
        "note": note,
        "paused": context.queue.is_paused,
        "at": at,
    }


def queue_row(context: AppContext, job: Job, hold: str = "") -> dict[str, Any]:
    """Return one job: its card with kind, place, time of filing or end, and True if it has a log."""
    card = job_card(job, hold)
    took = (job.ended_at - job.started_at).total_seconds() if job.ended_at and job.started_at else None
    return {
        **card,
        "kind_key": job.kind,
        "run": job.config.get("run", ""),
        "kind": training.kind(job.kind),
        "state": text.STATES[job.status],
        "line": "" if card["line"].rstrip(".") == text.STATES[job.status] else card["line"],
        "about": about(job),
        "position": job.position,
        "priority": job.priority,
        "when": moment(job.ended_at or job.created_at),
        "ended_s": job.ended_at.timestamp() if job.ended_at else None,
        "took": text.took(took) if took is not None else "",
        "has_log": any(path.is_file() for path in _logs(context, job)),
        "preview": preview_url(context, job),
    }


def preview_url(context: AppContext, job: Job) -> str:
    """Return the address of a running job's newest preview; "" while there is none."""
    if job.status != "running" or not job.config.get("preview"):
        return ""
    try:
        written = context.workspace.job_preview(job.id).stat().st_mtime_ns
    except FileNotFoundError:
        return ""
    return f"/media/jobs/{job.id}/preview?at={written}"


def about(job: Job) -> str:
    """Describe the clips of a job that generates some: model, seed, size, frames, mode; "" for other jobs."""
    first = next(iter(job.config.get("requests", ())), job.config.get("request"))
    if first is None:
        return ""
    try:
        request = GenerationRequest(**first)
    except ValidationError:  # of a later version
        return ""
    model = " + ".join(part for part in (request.model, request.adapter_label) if part)
    size = f"{request.width}x{request.height}, {general.count(request.num_frames, 'frame')}"
    mode = {key: label for label, key in modes.MODES if key != DIRECT}.get(request.mode, "")
    return joined([model, general.seed(request.seed), size, mode])


def job_log(context: AppContext, job_id: str) -> dict[str, Any]:
    """Return the end of a job's log; of a job that trains a run also the end of the run's."""
    job = context.queue.get(job_id)
    lines = [line for path in _logs(context, job) for line in read_log(path).lines]
    return {"id": job.id, "lines": "\n".join(lines)}


def _logs(context: AppContext, job: Job) -> list[Path]:
    own = context.workspace.job_log(job.id)
    if job.kind == training.TRAIN_KIND:
        with suppress(DailiesError):  # the run is deleted
            return [own, Run.find(context.workspace, job.config["run"]).log]
    return [own]


def alarms(context: AppContext) -> list[dict[str, Any]]:
    """Return the alarms of all runs, the newest run first."""
    found, _ = alarms_since(context.workspace, {})
    rows = [
        {
            "id": f"{run}/{alarm.name}/{alarm.step}",
            "run": run,
            "title": notices.alarmed(run, alarm.step),
            "line": alarm.sentence,
        }
        for run, alarm in found
    ]
    return rows[:MOST_ENDED]
