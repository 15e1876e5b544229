"""What became of jobs, in order: each change of state is written in the transaction that makes it, and stays."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from engine.storage.library import now
from engine.storage.schema import JOURNAL

ADOPTED = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """`event` is the state that a job came to, or "adopted"; `pid` the process that wrote it down."""

    number: int
    job_id: str
    event: str
    at: datetime
    pid: int


def record_event(connection: Connection, job_id: str, event: str) -> None:
    connection.execute(JOURNAL.insert().values(job_id=job_id, event=event, at=now(), pid=os.getpid()))


def enter_all(connection: Connection, job_ids: Sequence[str], event: str) -> None:
    """The same event of many jobs."""
    if job_ids:
        moment, pid = now(), os.getpid()
        rows = [{"job_id": job_id, "event": event, "at": moment, "pid": pid} for job_id in job_ids]
        connection.execute(JOURNAL.insert(), rows)


def entries(
    connection: Connection, *, job_id: str | None = None, after: int = 0, events: Sequence[str] = (), limit: int = 1000
) -> list[JobEvent]:
    """The oldest first: of one job or all, beyond a number, of some events or all."""
    query = select(JOURNAL).where(JOURNAL.c.number > after).order_by(JOURNAL.c.number).limit(limit)
    if job_id is not None:
        query = query.where(JOURNAL.c.job_id == job_id)
    if events:
        query = query.where(JOURNAL.c.event.in_(events))
    return [JobEvent(**row._mapping) for row in connection.execute(query)]


def newest(connection: Connection) -> int:
    """The number of the last entry; 0 when there is none."""
    return connection.scalar(select(func.max(JOURNAL.c.number))) or 0
