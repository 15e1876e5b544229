"""Rows of the jobs table: read as jobs, and changed many at a time."""

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Select, and_, func, or_, select, update

from engine.clock import now
from engine.execution.process_runner import read_handle
from engine.jobs import events
from engine.jobs.spec import ENDED, PRIORITIES, Job, JobProgress
from engine.process_identity import ProcessIdentity
from engine.storage.database import Database, pieces
from engine.storage.schema import JOBS, JOURNAL

PROGRESS = TypeAdapter(JobProgress)
ORDER = (JOBS.c.priority.desc(), JOBS.c.number)
PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}


def jobs_with_places() -> Select[Any]:
    """Select all jobs, with the place of queued ones."""
    place = func.row_number().over(order_by=ORDER).label("position")
    waiting = select(JOBS.c.number, place).where(JOBS.c.status == "queued").subquery()
    return select(JOBS, waiting.c.position).outerjoin(waiting, waiting.c.number == JOBS.c.number)


def job_with_place() -> Select[Any]:
    """Select jobs as `jobs_with_places` does; faster for few jobs, since places are counted for each."""
    before = JOBS.alias("before")
    ahead = or_(
        before.c.priority > JOBS.c.priority,
        and_(before.c.priority == JOBS.c.priority, before.c.number <= JOBS.c.number),
    )
    place = select(func.count()).where(before.c.status == "queued", JOBS.c.status == "queued", ahead)
    return select(JOBS, func.nullif(place.correlate(JOBS).scalar_subquery(), 0).label("position"))


def read_jobs(database: Database, query: Select[Any]) -> list[Job]:
    with database.reading() as connection:
        return [job_of(row) for row in connection.execute(query)]


def jobs_of(database: Database, job_ids: Sequence[str]) -> list[Job]:
    """Return the jobs of these ids, without places, in any order."""
    return [job for piece in pieces(job_ids) for job in read_jobs(database, select(JOBS).where(JOBS.c.id.in_(piece)))]


def last_ended(database: Database, limit: int) -> list[Job]:
    """Return the jobs that ended last, the newest first."""
    moment = func.max(JOURNAL.c.number).label("moment")
    ended = select(JOURNAL.c.job_id, moment).where(JOURNAL.c.event.in_(ENDED)).group_by(JOURNAL.c.job_id)
    newest = ended.order_by(moment.desc()).limit(limit).subquery()
    query = select(JOBS).join(newest, newest.c.job_id == JOBS.c.id).where(JOBS.c.status.in_(ENDED))
    return read_jobs(database, query.order_by(newest.c.moment.desc()))


def newest_by(database: Database, kind: str, field: str, value: str | None = None) -> dict[str, Job]:
    """Return the newest job of a kind for each value of a field of its config, or for one value.

    The newest is the one submitted last, independent of clock and queue.
    """
    named = JOBS.c.config[field].as_string()
    first = (
        select(JOURNAL.c.job_id, func.min(JOURNAL.c.number).label("submitted")).group_by(JOURNAL.c.job_id).subquery()
    )
    place = func.row_number().over(
        partition_by=named, order_by=(func.coalesce(first.c.submitted, 0).desc(), JOBS.c.number)
    )
    ranked = select(JOBS.c.id, place.label("place")).outerjoin(first, first.c.job_id == JOBS.c.id)
    ranked = ranked.where(JOBS.c.kind == kind, *([] if value is None else [named == value]))
    newest = ranked.subquery()
    query = jobs_with_places().where(JOBS.c.id.in_(select(newest.c.id).where(newest.c.place == 1)))
    return {str(job.config.get(field)): job for job in read_jobs(database, query)}


def job_of(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    del values["number"]
    values["priority"] = PRIORITY_NAMES[values["priority"]]
    worker = {name: values.pop(name) for name in ("host", "boot_id", "pid", "started_s")}
    values["worker"] = ProcessIdentity(**worker) if worker["pid"] is not None else None
    values["progress"] = _progress(values["progress"]) if values["progress"] else None
    return Job(**values)


def _progress(values: dict[str, Any]) -> JobProgress:
    """Parse the progress; a handle that this version cannot read is left out."""
    handle = read_handle(values["handle"]) if values.get("handle") else None
    return JobProgress(**{**values, "handle": handle})


def renumber(connection: Connection, ids: Sequence[str], numbers: Sequence[int]) -> None:
    """Assign numbers to jobs in this order, by way of negative ones, since numbers are unique."""
    for sign in (-1, 1):
        for job_id, number in zip(ids, numbers, strict=True):
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(number=sign * number))


def cancel_queued(connection: Connection, kind: str | Collection[str] | None) -> list[str]:
    """Cancel queued jobs in one statement (they hold no device), and return their ids."""
    query = update(JOBS).where(JOBS.c.status == "queued").values(status="cancelled", ended_at=now())
    if kind is not None:
        query = query.where(JOBS.c.kind.in_([kind] if isinstance(kind, str) else kind))
    cancelled = connection.scalars(query.returning(JOBS.c.id)).all()
    events.record_events(connection, cancelled, "cancelled")
    return list(cancelled)
