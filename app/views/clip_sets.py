"""Sets of clips to rank or to label: latest, starred, of a scored folder, or selected."""

from collections.abc import Iterable
from pathlib import Path

from app.context import AppContext
from app.text import general
from app.views.clip_panel import in_order
from app.views.clips import moment
from app.views.jobs import clip_ids
from engine.jobs.spec import Job
from engine.storage.library import ClipFilter, ClipRecord

NEWEST, STARRED, JOB, CHOSEN = "newest", "starred", "job:", "chosen:"
LIMIT = 300  # clips in one table
FOLDERS = 20  # scored last

Choices = list[tuple[str, str]]


def choices(context: AppContext, chosen: str = "") -> Choices:
    """Return the sets by label; `chosen` adds a set of individually selected clips."""
    folders = context.queue.list("done", "score_folder", limit=FOLDERS)
    sets = [
        (general.WHICH_NEWEST, NEWEST),
        (general.WHICH_STARRED, STARRED),
        *((label(job), of_job(job)) for job in folders),
    ]
    own = chosen.startswith(CHOSEN)
    return [*sets, *([(general.which_chosen(len(_ids(chosen))), chosen)] if own else [])]


def label(job: Job) -> str:
    name = Path(job.config["folder"]).name
    kept = general.DROPPED if name.startswith("kept-") else general.folder(name)
    number = len(clip_ids(job))
    cut = f" ({general.the_first(LIMIT)})" if number > LIMIT else ""
    return f"{kept}, {general.count(number, 'clip')}{cut}, {moment(job.created_at)}"


def of_job(job: Job) -> str:
    return f"{JOB}{job.id}"


def of_clips(clip_ids: Iterable[str]) -> str:
    return CHOSEN + ",".join(clip_ids)


def _ids(chosen: str) -> list[str]:
    return chosen.removeprefix(CHOSEN).split(",")


def records(context: AppContext, which: str) -> list[ClipRecord]:
    """Return the existing clips of a set. Raises JobError if its job no longer exists."""
    if which.startswith(JOB):
        return in_order(context.store, clip_ids(context.queue.get(which.removeprefix(JOB)))[:LIMIT])
    if which.startswith(CHOSEN):
        return in_order(context.store, _ids(which)[:LIMIT])
    return context.store.clips(ClipFilter(starred=True if which == STARRED else None), limit=LIMIT)


def overlay_choices(drawn: Iterable[str]) -> Choices:
    return [(general.NO_OVERLAY, ""), *((general.overlay(name), name) for name in drawn)]
