"""`JobQueue`: jobs in the database, by priority, then by submission unless moved.

queued -> running -> done | failed
   |        |  `---> queued      the worker has to end: another one continues
   |        |------> lost        the worker is gone, and so is the process it monitored
   |        `------> stopping -> cancelled
   `---------------> cancelled

Each change is one transaction. A waiting job never interrupts a running one. The lease of a device (`device_leases`)
and the journal's entry (`events`) are written in the transaction of the state change.
"""

import hashlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, update

from engine.clock import now
from engine.errors import ConfigError, JobCancelled, JobError
from engine.execution.resources import Resources, read_resources
from engine.hardware.job_environment import recorded_environment
from engine.jobs import device_leases, events
from engine.jobs.device_leases import Capacity, Demand, Held
from engine.jobs.heartbeat_age import Observer
from engine.jobs.job_rows import (
    ORDER,
    PROGRESS,
    cancel_queued,
    job_of,
    job_with_place,
    jobs_with_places,
    read_jobs,
    renumber,
)
from engine.jobs.kinds import KINDS, Kinds, kind_of
from engine.jobs.orphans import is_still_running, lost_message
from engine.jobs.spec import ACTIVE, ENDED, PRIORITIES, Job, JobProgress, JobSpec, Priority, Status, cancelled
from engine.jobs.worker_state import check_served
from engine.process_identity import ProcessIdentity
from engine.storage.database import insert_new, storable
from engine.storage.library import Library
from engine.storage.schema import JOBS, JOURNAL

Jobs = list[Job]  # aliases, since `list` is a method inside the class
Ids = list[str]
Entries = list[events.JobEvent]
CANDIDATES = 1000  # waiting jobs among which one that fits is looked for
SILENCE = timedelta(minutes=2)  # a worker on another host counts as gone when its heartbeat has not changed for so long

log = logging.getLogger(__name__)


class JobQueue:
    """The jobs of one store. Safe in many threads and processes."""

    def __init__(self, store: Library, kinds: Kinds = KINDS) -> None:
        self.store = store
        self.kinds = kinds
        self._database = store.database
        self._observer = Observer()

    def submit(self, spec: JobSpec, key: str | None = None) -> Job:
        """Queue a job. `key` identifies the request: a second submission returns the first one's job.

        Raises ConfigError or JobError for a job that cannot work, which is not queued.
        """
        kind = kind_of(spec.kind, self.kinds)
        config = kind.validate(spec.config)
        check_served(self.store.workspace, self._database.name)
        row = {
            **spec.model_dump(),
            "resources": kind.resolve(spec.resources).model_dump(exclude_defaults=True),
            "priority": PRIORITIES[spec.priority or ("high" if kind.is_interactive(config) else "normal")],
            "id": self.id_of(key) or secrets.token_hex(4),
            "status": "queued",
            "created_at": now(),
            "environment": recorded_environment() or None,
        }
        with self._database.writing() as connection:
            if insert_new(connection, JOBS, row, unique="id"):
                events.record_event(connection, row["id"], "queued")
            elif key is None or connection.scalar(select(JOBS.c.kind).where(JOBS.c.id == row["id"])) != spec.kind:
                raise JobError(f"The id {row['id']} belongs to another job: submit this one again.")
        return self.get(row["id"])

    @staticmethod
    def id_of(key: str | None) -> str | None:
        """Return the id of the job of a request with this key."""
        return hashlib.sha256(key.encode()).hexdigest()[:8] if key else None

    def get(self, job_id: str) -> Job:
        """Return the job of an id or of a unique prefix of it. Raises JobError when none or several match."""
        query = job_with_place().where(JOBS.c.id.startswith(job_id, autoescape=True)).limit(2)
        matches = read_jobs(self._database, query) if job_id else []
        if len(matches) != 1:
            problem = "more than one job begins with" if matches else "there is no job"
            raise JobError(f"{problem.capitalize()} {job_id[:40]!r}: `dailies jobs ls` lists them.")
        return matches[0]

    def list(
        self,
        status: Status | Collection[Status] | None = None,
        kind: str | Collection[str] | None = None,
        limit: int | None = 100,
    ) -> Jobs:
        """Return jobs, newest first; None for `status`, `kind` or `limit` selects all."""
        query = jobs_with_places().order_by(JOBS.c.number.desc()).limit(limit)
        if status is not None:
            query = query.where(JOBS.c.status.in_([status] if isinstance(status, str) else status))
        if kind is not None:
            query = query.where(JOBS.c.kind.in_([kind] if isinstance(kind, str) else kind))
        return read_jobs(self._database, query)

    def board(self, limit: int) -> tuple[Jobs, Counter[str]]:
        """Return up to `limit` running jobs, up to `limit` queued ones in order, and counts by status."""
        active = select(JOBS).where(JOBS.c.status.in_(ACTIVE)).order_by(JOBS.c.number).limit(limit)
        waiting = select(JOBS).where(JOBS.c.status == "queued").order_by(*ORDER).limit(limit)
        counts = select(JOBS.c.status, func.count()).group_by(JOBS.c.status)
        with self._database.reading() as connection:
            running = [job_of(row) for row in connection.execute(active)]
            queued = [job_of(row) for row in connection.execute(waiting)]
            numbers = Counter({status: number for status, number in connection.execute(counts)})
        return [*running, *(replace(job, position=place) for place, job in enumerate(queued, start=1))], numbers

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job now, or stop a running one at its next step; a second call is harmless.

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

    def cancel_waiting(self, kind: str | Collection[str] | None = None) -> Ids:
        """Cancel all queued jobs (of some kinds) in one transaction; return their ids."""
        with self._database.writing() as connection:
            return cancel_queued(connection, kind)

    def cancel_all_but_current(self) -> Ids:
        """Cancel every job but the longest running one; return the ids of those cancelled or stopping."""
        begun = select(func.max(JOURNAL.c.number)).where(JOURNAL.c.job_id == JOBS.c.id, JOURNAL.c.event == "running")
        running = select(JOBS.c.id).where(JOBS.c.status == "running").order_by(begun.scalar_subquery(), JOBS.c.number)
        with self._database.writing() as connection:
            cancelled = cancel_queued(connection, None)
            others = connection.scalars(running.with_for_update(of=JOBS)).all()[1:]
            stopping = [
                job_id for job_id in others if _change(connection, job_id, ("running",), {"status": "stopping"})
            ]
        return [*cancelled, *stopping]

    def move(self, job_id: str, position: int) -> Job:
        """Move a queued job to a place, from 1 (the next); others shift. A place past the end is the last.

        It takes on the priority of its new neighbours. Raises JobError when the job is not queued.
        """
        job = self.get(job_id)
        with self._database.writing() as connection:
            query = select(JOBS.c.id, JOBS.c.number, JOBS.c.priority).where(JOBS.c.status == "queued").order_by(*ORDER)
            waiting = connection.execute(query.with_for_update()).all()
            own = next((row.priority for row in waiting if row.id == job.id), None)
            if own is None:
                raise JobError(f"Job {job.id} cannot be moved: it is {job.status}, and only queued jobs have a place.")
            others = [row for row in waiting if row.id != job.id]
            place = min(max(1, position), len(waiting)) - 1
            before, after = others[:place], others[place:]
            priority = max(own, after[0].priority) if after else own
            priority = min(priority, before[-1].priority) if before else priority
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(priority=priority))
            ids = [*(row.id for row in before), job.id, *(row.id for row in after)]
            renumber(connection, ids, sorted(row.number for row in waiting))
        return self.get(job.id)

    def prioritise(self, job_id: str, priority: Priority) -> Job:
        """Put a queued job before all of lower priority. Raises JobError when the job is not queued."""
        job = self.get(job_id)
        with self._database.writing() as connection:
            if not _change(connection, job.id, ("queued",), {"priority": PRIORITIES[priority]}):
                raise JobError(f"Job {job.id} is {job.status}: only queued jobs have a priority.")
        return self.get(job.id)

    @property
    def is_paused(self) -> bool:
        return self.store.workspace.pause_flag.exists()

    def pause(self) -> None:
        """Start no further job until `resume`, also after a restart; running jobs continue."""
        self.store.workspace.pause_flag.touch()

    def resume(self) -> None:
        """Start jobs again; the caller must then call `worker_control.reconcile_and_ensure_worker`."""
        self.store.workspace.pause_flag.unlink(missing_ok=True)

    def claim(self, worker: ProcessIdentity, room: Capacity = Capacity()) -> Job | None:  # noqa: B008 (it is frozen)
        """Claim the first queued job that fits for the worker, with its leases; None when none fits."""
        if self.is_paused:
            return None
        with self._database.reading() as connection:  # a read does not block writers
            if self._choose(connection, self._queued(), room) is None:
                return None
        with self._database.writing() as connection:
            device_leases.lock_leases(connection)
            chosen = self._choose(connection, self._queued().with_for_update(skip_locked=True), room)
            if chosen is None:
                return None
            job_id, parts = chosen
            started = {"status": "running", "started_at": now(), **_sign_of_life(), **asdict(worker)}
            _change(connection, job_id, ("queued",), started)
            device_leases.acquire_lease(connection, job_id, parts)
        return self.get(job_id)

    def _choose(self, connection: Connection, queued: Select[Any], room: Capacity) -> tuple[str, Held] | None:
        """Return the first job that fits and its parts, reserving parts for the waiting jobs before it."""
        free, own = device_leases.free_parts(connection, room), recorded_environment()
        for row in connection.execute(queued):
            if row.environment not in (None, own):
                if room.idle:  # the worker ends, for one with the job's environment
                    return None
                continue
            need = self.need_of(row.kind, row.resources)
            parts = device_leases.fitting(need, free)
            if parts is not None and device_leases.has_slot(need, room):
                return row.id, parts
            device_leases.reserve(need, free)
        return None

    def awaited_environment(self) -> dict[str, str] | None:
        """Return the environment of the first queued job if this process has another one, else None."""
        if self.is_paused:
            return None
        with self._database.reading() as connection:
            first = connection.execute(self._queued().limit(1)).one_or_none()
        return None if first is None or first.environment in (None, recorded_environment()) else dict(first.environment)

    def need_of(self, kind: str, resources: Mapping[str, Any]) -> Demand:
        """Return the demand of a job on the machine that runs it."""
        try:
            requested = read_resources(resources)
        except ConfigError:  # of another version of Dailies: the worker reports it when it starts the job
            requested = Resources()
        return device_leases.need_of(self.kinds[kind], requested)

    def holder(self, need: Demand) -> Job | None:
        """Return the running job whose device the demand of an in-process job waits for, or None."""
        if not need.in_process:
            return None
        with self._database.reading() as connection:
            job_id = device_leases.holder(connection, need)
        return self.get(job_id) if job_id else None

    def devices_of(self, job_id: str) -> Sequence[int]:
        """Return the devices of which a running job holds parts."""
        with self._database.reading() as connection:
            return device_leases.devices_of(connection, job_id)

    def is_waiting(self) -> bool:
        """Return True when a worker is needed: for a queued job, or a running process without a worker."""
        if any(job.kind in self.kinds for job in self._orphans(still_running=True)):
            return True
        if self.is_paused:
            return False
        with self._database.reading() as connection:
            return connection.scalar(select(JOBS.c.number).where(*self._waiting()).limit(1)) is not None

    def adopt(self, worker: ProcessIdentity) -> Jobs:
        """Assign to the worker, and return, the jobs whose process still runs though their worker is gone."""
        adopted = []
        for job in (job for job in self._orphans(still_running=True) if job.kind in self.kinds):
            with self._database.writing() as connection:
                ownership = {**_sign_of_life(), **asdict(worker)}
                if _change(connection, job.id, ACTIVE, ownership, *_by(job.worker)):
                    events.record_event(connection, job.id, events.ADOPTED)
                    adopted.append(job.id)
        return [self.get(job_id) for job_id in adopted]

    def history(self, job_id: str) -> Entries:
        """Return every change of a job's state."""
        with self._database.reading() as connection:
            return events.entries(connection, job_id=job_id)

    def ended_since(self, number: int | None, limit: int = 100) -> tuple[Jobs, int]:
        """Return the jobs that ended after a journal entry (None: none) and the last entry's number."""
        with self._database.reading() as connection:
            events.settle(connection)
            last = events.newest(connection)
            after = last if number is None else number
            ended = events.entries(connection, after=after, events=ENDED, limit=limit)
        return [self.get(entry.job_id) for entry in ended], ended[-1].number if len(ended) == limit else last

    def heartbeat(self, job_id: str, progress: JobProgress | None = None) -> None:
        """Record a heartbeat. Raises JobCancelled when the job should stop or has another worker."""
        values: dict[str, Any] = _sign_of_life()
        if progress is not None:
            values["progress"] = PROGRESS.dump_python(progress, mode="json")
        with self._database.writing() as connection:
            status = _change(connection, job_id, ACTIVE, values)
        if status == "stopping":
            raise JobCancelled(cancelled(job_id))
        if status is None:
            raise JobCancelled(f"Job {job_id} was taken from this worker.")

    def finish(self, job_id: str, status: Status, *, result: dict[str, Any] | None = None, error: str = "") -> None:
        """Record the end of a running job: done, failed, cancelled or lost. A job that is over is not changed."""
        exit_code = {"done": 0, "failed": 1}.get(status)
        texts = {"result": storable(result), "error": storable(error) or None}  # they may quote any tool or file name
        values = {"status": status, **texts, "exit_code": exit_code}
        with self._database.writing() as connection:
            _change(connection, job_id, ACTIVE, {**values, "ended_at": now()})

    def put_back(self, job_id: str) -> None:
        """Return a running job to its old place in the queue, as its worker ends; a stopping one is cancelled."""
        fresh = {"status": "queued", "progress": None, "started_at": None, "heartbeat_at": None, "heartbeat_s": None}
        with self._database.writing() as connection:
            if not _change(connection, job_id, ("running",), fresh):
                _change(connection, job_id, ("stopping",), {"status": "cancelled", "ended_at": now()})

    def reconcile(self) -> Jobs:
        """Mark jobs whose worker is gone as lost (or cancelled, if they were stopping), and return them.

        A job whose monitored process still runs is not changed: the next worker adopts it.
        """
        orphans = [*self._orphans(still_running=False)]
        for job in orphans:
            status = "cancelled" if job.status == "stopping" else "lost"
            with self._database.writing() as connection:
                ended = {"status": status, "ended_at": now(), "error": lost_message(job)}
                _change(connection, job.id, (job.status,), ended, *_by(job.worker))
            log.warning("Job %s: %s", job.id, lost_message(job))
        return [self.get(job.id) for job in orphans]

    def _orphans(self, *, still_running: bool) -> Iterator[Job]:
        """Yield active jobs without a worker whose process is still running, or is not."""
        active = self.list(ACTIVE, limit=None)
        self._observer.keep({job.id for job in active})
        for job in active:
            if self._is_orphan(job) and _can_be_adopted(job, self.store) == still_running:
                yield job

    def _is_orphan(self, job: Job) -> bool:
        """Return True when the job's worker is gone, or, on another host, has been silent for SILENCE."""
        if job.worker is not None and job.worker.is_local:
            return not job.worker.is_alive
        return job.heartbeat_at is None or self._observer.silent_for(job, SILENCE)

    def _queued(self) -> Select[Any]:
        return (
            select(JOBS.c.id, JOBS.c.kind, JOBS.c.resources, JOBS.c.environment)
            .where(*self._waiting())
            .order_by(*ORDER)
            .limit(CANDIDATES)
        )

    def _waiting(self) -> tuple[ColumnElement[bool], ...]:
        return JOBS.c.status == "queued", JOBS.c.kind.in_(self.kinds)


def _change(
    connection: Connection,
    job_id: str,
    statuses: Sequence[Status],
    values: dict[str, Any],
    *conditions: ColumnElement[bool],
) -> Status | None:
    """Change a job that is in one of the states. Return its new state, or None when it is in none of them.

    A new state is recorded in the journal; a state in which the job does not run releases its leases.
    """
    query = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status.in_(statuses), *conditions).values(**values)
    status: Status | None = connection.scalar(query.returning(JOBS.c.status))
    if status is not None and "status" in values:
        events.record_event(connection, job_id, status)
        if status not in ACTIVE:
            device_leases.release_lease(connection, job_id)
    return status


def _sign_of_life() -> dict[str, Any]:
    return {"heartbeat_at": now(), "heartbeat_s": time.monotonic()}


def _by(worker: ProcessIdentity | None) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a job still belongs to this worker."""
    return () if worker is None else (JOBS.c.pid == worker.pid, JOBS.c.started_s == worker.started_s)


def _can_be_adopted(job: Job, store: Library) -> bool:
    """Return True when another worker of this machine can adopt an orphan."""
    return job.worker is not None and job.worker.is_local and is_still_running(job, store.workspace)
