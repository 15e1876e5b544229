"""Sets of clips to rank or to label: the Library's newest, the starred ones, a folder that was scored, chosen ones."""

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
FOLDERS = 20  # the last ones that were scored

Choices = list[tuple[str, str]]


def choices(desk: AppContext, chosen: str = "") -> Choices:
    """What can be ranked or labelled, by label; `chosen` is a set of clips that somebody chose one by one."""
    folders = desk.queue.list("done", "score_folder", limit=FOLDERS)
    found = [
        (general.WHICH_NEWEST, NEWEST),
        (general.WHICH_STARRED, STARRED),
        *((label(job), of_job(job)) for job in folders),
    ]
    own = chosen.startswith(CHOSEN)
    return [*found, *([(general.which_chosen(len(_ids(chosen))), chosen)] if own else [])]


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


def records(desk: AppContext, which: str) -> list[ClipRecord]:
    """The clips of a set that are still there. Raises JobError when its job is gone."""
    if which.startswith(JOB):
        return in_order(desk.store, clip_ids(desk.queue.get(which.removeprefix(JOB)))[:LIMIT])
    if which.startswith(CHOSEN):
        return in_order(desk.store, _ids(which)[:LIMIT])
    return desk.store.clips(ClipFilter(starred=True if which == STARRED else None), limit=LIMIT)


def overlay_choices(drawn: Iterable[str]) -> Choices:
    return [(general.NO_OVERLAY, ""), *((general.overlay(name), name) for name in drawn)]
