"""Value of the header's queue: active and queued jobs, the jobs that ended last, and alarms of runs."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.context import AppContext
from app.text import general, modes, notices, training
from app.text import jobs as text
from app.views.clips import joined, moment
from app.views.jobs import Reasons, job_card
from engine.clock import now
from engine.errors import DailiesError
from engine.files.log_tail import read_log
from engine.generation.clip_plan import DIRECT
from engine.jobs.job_rows import last_ended
from engine.jobs.runs.run_actions import RESUMABLE, State, progress_of
from engine.jobs.spec import TRAIN, Job
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.request import GenerationRequest
from engine.runs.run import Run, alarms_since
from engine.runs.run_notes import name_of, read_notes

End = tuple[State, int, int]
PATIENCE_S = 10.0  # after which a job that was asked to stop can be killed
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
    ends = _ends(context, jobs, last[:ended])
    return {
        "jobs": [queue_row(context, job, reasons.of(job)) for job in jobs],
        "waiting": counts["queued"],
        "more": training.more_waiting(counts["queued"] - shown),
        "ended": [queue_row(context, job, end=ends.get(job.id)) for job in last[:ended]],
        "older": len(last) > ended,
        "alarms": alarms(context) if with_alarms else None,
        "note": note,
        "paused": context.queue.is_paused,
        "at": at,
    }


def _run_of(context: AppContext, job: Job) -> dict[str, str]:
    """Return the id of a job's run, and the name of the run as the title if it has one."""
    run = job.config.get("run")
    if not run:
        return {"run": ""}
    with suppress(DailiesError):  # the run is deleted
        if name := read_notes(Run.find(context.workspace, run)).name:
            return {"run": run, "title": name}
    return {"run": run}


def _ends(context: AppContext, unfinished: Sequence[Job], ended: Sequence[Job]) -> dict[str, End]:
    """Return how the runs of ended jobs stand, by job: only of the newest job of each run."""
    seen = {job.config["run"] for job in unfinished if job.kind == TRAIN}
    found: dict[str, End] = {}
    for job in ended:
        if job.kind == TRAIN and job.config["run"] not in seen:
            seen.add(job.config["run"])
            with suppress(DailiesError):  # the run is deleted
                found[job.id] = progress_of(Run.find(context.workspace, job.config["run"]), job)
    return found


def _ended_state(job: Job, end: End | None) -> str:
    """Return how a job of a run ended, of the run's newest one with the step: "Stopped at 2 / 8"."""
    state, step, of = end or ("", 0, 0)
    if state == "killed":
        return training.STATES[state]
    if job.status == "cancelled" and job.progress is not None:
        return text.stopped(step, of) if step else training.STATES["stopped"]
    return text.STATES[job.status]


def _stops_slowly(context: AppContext, job: Job) -> bool:
    """Return True for a job that was asked to stop a while ago."""
    if job.status != "stopping":
        return False
    asked = [entry.at for entry in context.queue.history(job.id) if entry.event == job.status]
    return bool(asked) and (now() - asked[-1]).total_seconds() > PATIENCE_S


def queue_row(context: AppContext, job: Job, hold: str = "", end: End | None = None) -> dict[str, Any]:
    """Return one job: its card with kind, place, time of submission or end, and True if it has a log.

    `end` is the state and progress of the run whose newest job this is.
    """
    card = job_card(job, hold)
    trains = job.kind == TRAIN
    state = _ended_state(job, end) if trains and job.is_over else text.STATES[job.status]
    said = card["line"].rstrip(".")
    took = (job.ended_at - job.started_at).total_seconds() if job.ended_at and job.started_at else None
    return {
        **card,
        **_run_of(context, job),
        "kind_key": job.kind,
        "kind": training.kind(job.kind),
        "state": state,
        "line": "" if said in (state, text.STATES[job.status]) else card["line"],
        "can_kill": card["can_kill"] or _stops_slowly(context, job),
        "can_retry": end is not None and end[0] in RESUMABLE if trains else card["can_retry"],
        "can_clone": end is not None and end[0] == "refused",
        "retry": text.QUEUE_WORDS["resume_run" if trains else "retry"],
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
    if job.kind == TRAIN:
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
            "title": notices.alarmed(name_of(Run.find(context.workspace, run)), alarm.step),
            "line": alarm.sentence,
        }
        for run, alarm in found
    ]
    return rows[:MOST_ENDED]
