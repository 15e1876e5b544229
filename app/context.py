"""`AppContext`, shared by all tabs. The page is stateless: it reads the library and queues jobs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.middleware.idempotency import request_key
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec
from engine.jobs.submission import submit_exclusive, submit_job, submit_or_join
from engine.storage.library import Library
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """One workspace with its library and queue; `shared` is true if another server uses it too.

    `folders` are folders on the server whose files users may name (see `app.api.server_folders`).
    """

    store: Library
    queue: JobQueue
    shared: bool = False
    folders: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: str | Path | None = None, *, shared: bool = False, folders: tuple[Path, ...] = ()) -> Self:
        """Open a workspace. Raises StoreError or ConfigError if it or its database cannot be used."""
        store = Library(Workspace.from_env(folder))
        return cls(store=store, queue=JobQueue(store), shared=shared, folders=folders)

    @property
    def workspace(self) -> Workspace:
        return self.store.workspace

    def submit(self, spec: JobSpec, *, alone: str = "", discard: Callable[[], None] = lambda: None) -> Job:
        """Queue a job and ensure that a worker runs. A repeated request queues no second job.

        `alone` names a resource that may have only one such job. Raises DailiesError if the job cannot be queued, after
        `discard`, see `submit_job`.
        """
        key = request_key("job")
        return submit_exclusive(self.queue, spec, alone, key) if alone else submit_job(self.queue, spec, key, discard)

    def submit_shared(self, spec: JobSpec) -> Job:
        """Queue a job unless an identical one is queued or running; return that one if so."""
        return submit_or_join(self.queue, spec, request_key("job"))

    def submit_again(self, job_id: str) -> Job:
        """Queue a job again unless an identical one is queued or running; return that one if so."""
        job = self.queue.get(job_id)
        spec = JobSpec(kind=job.kind, config=job.config, resources=job.resources)
        return self.submit_shared(spec)
