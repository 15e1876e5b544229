"""`JobQueue`: jobs in the database, first come first served unless moved. Every change of state is one transaction.

queued -> running -> done | failed
   |        |  `---> queued      the worker was told to end: somebody else goes on
   |        |------> lost        the worker is gone
   |        `------> stopping -> cancelled
   `---------------> cancelled
"""

import logging
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from engine.data.database import Database
from engine.data.store import Store, now
from engine.data.tables import JOBS
from engine.errors import Cancelled, JobError
from engine.jobs.kinds import KINDS, Kinds, kind_of
from engine.jobs.process import ProcessIdentity
from engine.jobs.runner import read_handle
from engine.jobs.spec import ACTIVE, Job, JobProgress, JobSpec, Status

Jobs = list[Job]  # a name of its own, for inside the class `list` is a method
EVERY = 1000  # jobs that wait or run at once
SILENCE = timedelta(minutes=2)  # without a heartbeat, a worker on another host counts as gone

PROGRESS = TypeAdapter(JobProgress)

log = logging.getLogger(__name__)


class JobQueue:
    """The jobs of one store. Safe in many threads and processes."""

    def __init__(self, store: Store, kinds: Kinds = KINDS) -> None:
        self.store = store
        self.kinds = kinds
        self._database = store.database

    def submit(self, spec: JobSpec) -> Job:
        """Queue a job. Raises ConfigError or JobError when it could not work: nothing is queued then."""
        kind = kind_of(spec.kind, self.kinds)
        kind.read(spec.config)
        resources = kind.place(spec.resources).model_dump(exclude_defaults=True)
        row = {
            **spec.model_dump(),
            "resources": resources,
            "id": secrets.token_hex(4),
            "status": "queued",
            "created_at": now(),
        }
        with self._database.writing() as connection:
            connection.execute(JOBS.insert().values(row))
        return self.get(row["id"])

    def get(self, job_id: str) -> Job:
        """One job; the beginning of its id will do where no other begins so. Raises JobError when there is none."""
        query = _jobs().where(JOBS.c.id.startswith(job_id, autoescape=True)).limit(2)
        found = _read(self._database, query) if job_id else []
        if len(found) != 1:
            problem = "more than one job begins with" if found else "there is no job"
            raise JobError(f"{problem.capitalize()} {job_id[:40]!r}: `dailies jobs ls` lists them.")
        return found[0]

    def list(
        self,
        status: Status | Collection[Status] | None = None,
        kind: str | Collection[str] | None = None,
        limit: int = 100,
    ) -> Jobs:
        """Jobs, newest first; of one status or several, of one kind or several, of all where none is named."""
        query = _jobs().order_by(JOBS.c.number.desc()).limit(limit)
        if status is not None:
            query = query.where(JOBS.c.status.in_([status] if isinstance(status, str) else status))
        if kind is not None:
            query = query.where(JOBS.c.kind.in_([kind] if isinstance(kind, str) else kind))
        return _read(self._database, query)

    def cancel(self, job_id: str) -> Job:
        """End a queued job now, or ask a running one to stop at its next step; asking twice is harmless.

        Raises JobError when the job is over already.
        """
        job = self.get(job_id)
        with self._database.writing() as connection:
            ended = {"status": "cancelled", "ended_at": now()}
            if not _change(connection, job.id, ("queued",), ended):
                _change(connection, job.id, ("running",), {"status": "stopping"})
        job = self.get(job.id)
        if job.status in ("done", "failed", "lost"):
            raise JobError(f"Job {job.id} cannot be cancelled: it is {job.status} already.")
        return job

    def cancel_waiting(self, kind: str | Collection[str] | None = None) -> Jobs:
        """Cancel everything that is queued (of some kinds), and return it."""
        return self._cancel_each(self.list("queued", kind, limit=EVERY))

    def cancel_all_but_current(self) -> Jobs:
        """Cancel everything but the job that has been running longest."""
        started = sorted(self.list("running", limit=EVERY), key=lambda job: job.started_at or job.created_at)
        return self._cancel_each([*self.list("queued", limit=EVERY), *started[1:]])

    def _cancel_each(self, jobs: Sequence[Job]) -> Jobs:
        """Cancel jobs, the last first, so that none starts meanwhile; one that is over by then stays as it is."""
        ended = []
        for job in jobs:
            with suppress(JobError):
                ended.append(self.cancel(job.id))
        return ended

    def move(self, job_id: str, position: int) -> Job:
        """Give a queued job another place, from 1 (the next); those between close up. A place past the end is the last.

        Raises JobError when the job is not queued.
        """
        job = self.get(job_id)
        with self._database.writing() as connection:
            query = select(JOBS.c.id, JOBS.c.number).where(JOBS.c.status == "queued").order_by(JOBS.c.number)
            waiting = connection.execute(query.with_for_update()).all()
            ids, numbers = [row.id for row in waiting], [row.number for row in waiting]
            if job.id not in ids:
                raise JobError(f"Job {job.id} cannot be moved: it is {job.status}, and only queued jobs have a place.")
            ids.remove(job.id)
            ids.insert(min(max(1, position), len(ids) + 1) - 1, job.id)
            _renumber(connection, ids, numbers)
        return self.get(job.id)

    @property
    def is_paused(self) -> bool:
        return self.store.workspace.pause_flag.exists()

    def pause(self) -> None:
        """Start no further job; what runs goes on. It holds until `resume`, also when everything is restarted."""
        self.store.workspace.pause_flag.touch()

    def resume(self) -> None:
        """Start jobs again. Whoever calls this sees that a worker lives (`engine.jobs.local.keep_going`)."""
        self.store.workspace.pause_flag.unlink(missing_ok=True)

    def claim(self, worker: ProcessIdentity) -> Job | None:
        """Take the first queued job of a kind that this queue knows, and mark it as the worker's; None when idle."""
        if not self.is_waiting():
            return None
        query = select(JOBS.c.id).where(*self._waiting()).order_by(JOBS.c.number).limit(1)
        with self._database.writing() as connection:
            job_id = connection.scalar(query.with_for_update(skip_locked=True))
            if job_id is None:
                return None
            started = {"status": "running", "started_at": now(), "heartbeat_at": now(), **asdict(worker)}
            _change(connection, job_id, ("queued",), started)
        return self.get(job_id)

    def is_waiting(self) -> bool:
        """Whether a job is queued that a worker of this queue may take now."""
        if self.is_paused:
            return False
        with self._database.reading() as connection:
            return connection.scalar(select(JOBS.c.number).where(*self._waiting()).limit(1)) is not None

    def heartbeat(self, job_id: str, progress: JobProgress | None = None) -> None:
        """Say that a job is alive, and where it is. Raises Cancelled when it should stop or is no longer ours."""
        values: dict[str, Any] = {"heartbeat_at": now()}
        if progress is not None:
            values["progress"] = PROGRESS.dump_python(progress, mode="json")
        with self._database.writing() as connection:
            status = _change(connection, job_id, ACTIVE, values)
        if status == "stopping":
            raise Cancelled(f"Job {job_id} was cancelled.")
        if status is None:
            raise Cancelled(f"Job {job_id} was taken from this worker.")

    def finish(self, job_id: str, status: Status, *, result: dict[str, Any] | None = None, error: str = "") -> None:
        """Write how a running job ended: done, failed, cancelled or lost. A job that is over already stays as it is."""
        exit_code = {"done": 0, "failed": 1}.get(status)
        values = {"status": status, "result": result, "error": error or None, "exit_code": exit_code}
        with self._database.writing() as connection:
            _change(connection, job_id, ACTIVE, {**values, "ended_at": now()})

    def put_back(self, job_id: str) -> None:
        """Queue a running job again, at its old place: its worker has to end. One that is to stop ends as cancelled."""
        fresh = {"status": "queued", "progress": None, "started_at": None, "heartbeat_at": None}
        with self._database.writing() as connection:
            if not _change(connection, job_id, ("running",), fresh):
                _change(connection, job_id, ("stopping",), {"status": "cancelled", "ended_at": now()})

    def reconcile(self) -> Jobs:
        """Mark the jobs whose worker is gone as lost (or cancelled, if that was wanted), and return them."""
        orphans = [job for job in self.list(ACTIVE, limit=EVERY) if _is_orphan(job)]
        for job in orphans:
            wanted = job.status == "stopping"
            with self._database.writing() as connection:
                ended = {"status": "cancelled" if wanted else "lost", "ended_at": now(), "error": _epitaph(job)}
                _change(connection, job.id, (job.status,), ended)
            log.warning("Job %s: %s", job.id, _epitaph(job))
        return [self.get(job.id) for job in orphans]

    def _waiting(self) -> tuple[ColumnElement[bool], ...]:
        return JOBS.c.status == "queued", JOBS.c.kind.in_(self.kinds)


def _read(database: Database, query: Select[Any]) -> Jobs:
    with database.reading() as connection:
        return [_job(row) for row in connection.execute(query)]


def _jobs() -> Select[Any]:
    """All jobs, with the place in the queue of those that wait."""
    place = func.row_number().over(order_by=JOBS.c.number).label("position")
    waiting = select(JOBS.c.number, place).where(JOBS.c.status == "queued").subquery()
    return select(JOBS, waiting.c.position).outerjoin(waiting, waiting.c.number == JOBS.c.number)


def _renumber(connection: Connection, ids: Sequence[str], numbers: Sequence[int]) -> None:
    """Give the jobs these numbers, in this order; by way of negative ones, since no two may be equal at any time."""
    for sign in (-1, 1):
        for job_id, number in zip(ids, numbers, strict=True):
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(number=sign * number))


def _change(connection: Connection, job_id: str, statuses: Sequence[Status], values: dict[str, Any]) -> Status | None:
    """Change a job if it is in one of the states, and return its new state; None when it is in none of them."""
    query = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status.in_(statuses)).values(**values)
    return connection.scalar(query.returning(JOBS.c.status))


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    del values["number"]
    worker = {name: values.pop(name) for name in ("host", "boot_id", "pid", "started_s")}
    values["worker"] = ProcessIdentity(**worker) if worker["pid"] is not None else None
    values["progress"] = _progress(values["progress"]) if values["progress"] else None
    return Job(**values)


def _progress(values: dict[str, Any]) -> JobProgress:
    """A handle that this version does not understand is left out."""
    handle = read_handle(values["handle"]) if values.get("handle") else None
    return JobProgress(**{**values, "handle": handle})


def _is_orphan(job: Job) -> bool:
    if job.worker is not None and job.worker.is_local:
        return not job.worker.lives
    return job.heartbeat_at is None or now() - job.heartbeat_at > SILENCE


def _epitaph(job: Job) -> str:
    return (
        f"The worker (pid {job.pid}) ended before the job did: it was killed, or the machine was restarted. "
        "What it had finished is kept; file the job again to make the rest."
    )
