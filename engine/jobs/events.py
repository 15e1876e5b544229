"""The journal of jobs: each change of state is recorded in the transaction that makes it, and kept."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from engine.clock import now
from engine.storage.schema import JOURNAL

ADOPTED = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """An entry: `event` is a job's new state, or "adopted"; `pid` the process that recorded it."""

    number: int
    job_id: str
    event: str
    at: datetime
    pid: int


def record_event(connection: Connection, job_id: str, event: str) -> None:
    connection.execute(JOURNAL.insert().values(job_id=job_id, event=event, at=now(), pid=os.getpid()))


def record_events(connection: Connection, job_ids: Sequence[str], event: str) -> None:
    """Record the same event for many jobs."""
    if job_ids:
        moment, pid = now(), os.getpid()
        rows = [{"job_id": job_id, "event": event, "at": moment, "pid": pid} for job_id in job_ids]
        connection.execute(JOURNAL.insert(), rows)


def entries(
    connection: Connection, *, job_id: str | None = None, after: int = 0, events: Sequence[str] = (), limit: int = 1000
) -> list[JobEvent]:
    """Return entries after number `after`, oldest first, filtered by job and events."""
    query = select(JOURNAL).where(JOURNAL.c.number > after).order_by(JOURNAL.c.number).limit(limit)
    if job_id is not None:
        query = query.where(JOURNAL.c.job_id == job_id)
    if events:
        query = query.where(JOURNAL.c.event.in_(events))
    return [JobEvent(**row._mapping) for row in connection.execute(query)]


def settle(connection: Connection) -> None:
    """Wait for entries that are being written, as the first statement of a transaction.

    PostgreSQL assigns numbers before entries can be seen, so that one may appear after a greater one was read. SQLite
    has one writer at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE journal IN SHARE MODE"))


def newest(connection: Connection) -> int:
    """Return the number of the last entry; 0 without entries."""
    return connection.scalar(select(func.max(JOURNAL.c.number))) or 0
