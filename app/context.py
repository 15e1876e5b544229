"""`AppContext`: what every tab works with. The page keeps no state of its own: it reads the store and files jobs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.middleware.idempotency import request_key
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec
from engine.jobs.submission import file_alone, file_job, same_as
from engine.storage.library import Library
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """One workspace as the page sees it; `shared` says that another page serves it too.

    `folders` are those of the server's disk whose files may be named on the page (see `app.api.server_folders`).
    """

    store: Library
    queue: JobQueue
    shared: bool = False
    folders: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: str | Path | None = None, *, shared: bool = False, folders: tuple[Path, ...] = ()) -> Self:
        """Raises StoreError or ConfigError when the workspace or its database cannot be used."""
        store = Library(Workspace.from_env(folder))
        return cls(store=store, queue=JobQueue(store), shared=shared, folders=folders)

    @property
    def workspace(self) -> Workspace:
        return self.store.workspace

    def file(self, spec: JobSpec, *, alone: str = "") -> Job:
        """Queue a job and see that somebody works on it; the same request of the browser, sent again, queues none.

        `alone` names what may have one such job only. Raises DailiesError when it cannot be queued or started.
        """
        key = request_key("job")
        return file_alone(self.queue, spec, alone, key) if alone else file_job(self.queue, spec, key)

    def file_shared(self, spec: JobSpec) -> Job:
        """The same for what nobody needs twice: a job that does exactly this, and waits or runs already, is it."""
        return same_as(self.queue, spec) or self.file(spec)

    def file_again(self, job_id: str) -> Job:
        """Queue what a job was for once more; where that waits or runs already, from another window say, it is that."""
        job = self.queue.get(job_id)
        spec = JobSpec(kind=job.kind, config=job.config, resources=job.resources)
        return self.file_shared(spec)
