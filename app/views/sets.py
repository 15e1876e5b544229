"""The sets of clips that the Score tab ranks: the Library's newest, the starred ones, a folder that was scored."""

from collections.abc import Iterable
from pathlib import Path

from app import text
from app.desk import Desk
from app.views.clips import moment
from app.views.jobs import clip_ids
from app.views.stage import in_order
from engine.data.store import ClipFilter, ClipRecord
from engine.jobs.spec import Job

NEWEST, STARRED, JOB = "newest", "starred", "job:"
LIMIT = 300  # clips in one table
FOLDERS = 20  # the last ones that were scored

Choices = list[tuple[str, str]]


def choices(desk: Desk) -> Choices:
    """What can be ranked, by label."""
    folders = desk.queue.list("done", "score_folder", limit=FOLDERS)
    return [(text.WHICH_NEWEST, NEWEST), (text.WHICH_STARRED, STARRED), *((label(job), of_job(job)) for job in folders)]


def label(job: Job) -> str:
    name = Path(job.config["folder"]).name
    kept = text.DROPPED if name.startswith("kept-") else text.folder(name)
    return f"{kept}, {text.count(len(clip_ids(job)), 'clip')}, {moment(job.created_at)}"


def of_job(job: Job) -> str:
    return f"{JOB}{job.id}"


def records(desk: Desk, which: str) -> list[ClipRecord]:
    """The clips of a set that are still there. Raises JobError when its job is gone."""
    if which.startswith(JOB):
        return in_order(desk.store, clip_ids(desk.queue.get(which.removeprefix(JOB)))[:LIMIT])
    return desk.store.clips(ClipFilter(starred=True if which == STARRED else None), limit=LIMIT)


def overlay_choices(drawn: Iterable[str]) -> Choices:
    return [(text.NO_OVERLAY, ""), *((text.overlay(name), name) for name in drawn)]
