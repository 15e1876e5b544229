"""Submission of jobs: once each, and only when a worker can be started."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import delete

from engine.errors import ConfigError, DailiesError, JobError
from engine.files.locks import locked
from engine.jobs.job_rows import jobs_of
from engine.jobs.maintenance_configs import MODEL
from engine.jobs.queue import JobQueue
from engine.jobs.spec import UNFINISHED, Job, JobSpec
from engine.jobs.worker_control import ensure_worker
from engine.runs.in_use import remedy, user_of_data_set, user_of_model
from engine.storage.schema import JOBS


def submit_job(
    queue: JobQueue, spec: JobSpec, key: str | None = None, discard: Callable[[], None] = lambda: None
) -> Job:
    """Queue a job and ensure that a worker runs. `key` identifies the request, see `JobQueue.submit`.

    Raises DailiesError when it cannot be queued or no worker can be started; then it is not queued and `discard`
    removes what was created for it, unless an earlier request with the key has queued it.
    """
    own_id = JobQueue.id_of(key)
    is_repeat = own_id is not None and bool(jobs_of(queue.store.database, [own_id]))
    job = None
    try:
        job = queue.submit(spec, key)
        ensure_worker(queue.store.workspace)
    except DailiesError:
        if not is_repeat:
            if job is not None:
                withdraw(queue, job.id)
            discard()
        raise
    return job


def submit_exclusive(queue: JobQueue, spec: JobSpec, what: str, key: str | None = None) -> Job:
    """Queue a job of which only one may be queued or running; `what` names it in the error.

    Raises JobError when another one is, else as `submit_job` does.
    """
    with submission_lock(queue):
        job = same_as(queue, spec)
        if job is not None and job.id != JobQueue.id_of(key):
            raise JobError(f"{what} is {job.status} already, as job {job.id}: cancel that first.")
        return submit_job(queue, spec, key)


def submit_or_join(queue: JobQueue, spec: JobSpec, key: str | None = None) -> Job:
    """Queue a job, or return an identical one that is queued or running. Raises as `submit_job` does."""
    with submission_lock(queue):
        return same_as(queue, spec) or submit_job(queue, spec, key)


def submission_lock(queue: JobQueue) -> AbstractContextManager[None]:
    """Lock jobs and runs between the check of a state and the submission."""
    return locked(queue.store.workspace.submission_lock)


@contextmanager
def unneeded(queue: JobQueue, keys: Iterable[str] = (), data_set: str = "") -> Iterator[None]:
    """Let no run be submitted during the block, which removes these models or adapters, or the data set.

    Raises ConfigError while a job, or a process that trains a run, needs one of them; for the data set also while an
    unfinished run does.
    """
    with submission_lock(queue):
        wanted = {key: user_of_model(queue.store, key, MODEL) for key in keys}
        if data_set:
            wanted[data_set] = user_of_data_set(queue.store, data_set)
        for key, user in wanted.items():
            if user:
                end = remedy(user, "cancel it, wait for its end or delete it")
                raise ConfigError(f"'{key}' is needed by {user}: {end}, and then remove '{key}'.")
        yield


def same_as(queue: JobQueue, spec: JobSpec) -> Job | None:
    """Return a queued or running job with the config of `spec`, or None."""
    config = spec.model_dump(mode="json")["config"]
    alive = queue.list(UNFINISHED, kind=spec.kind, limit=None)
    return next((job for job in alive if job.config == config), None)


def withdraw(queue: JobQueue, *job_ids: str) -> None:
    """Delete jobs that are still queued; a job that has started is not changed."""
    with queue.store.database.writing() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id.in_(job_ids), JOBS.c.status == "queued"))
