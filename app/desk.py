"""`Desk`: what every tab works with. The page keeps no state of its own: it reads the store and files jobs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.data.store import Store
from engine.data.workspace import Workspace
from engine.jobs.local import ensure_worker
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One workspace as the page sees it; `shared` says that another page serves it too.

    `folders` are those of the server's disk whose files may be named on the page (see `app.folders`).
    """

    store: Store
    queue: JobQueue
    shared: bool = False
    folders: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: str | Path | None = None, *, shared: bool = False, folders: tuple[Path, ...] = ()) -> Self:
        """Raises StoreError or ConfigError when the workspace or its database cannot be used."""
        store = Store(Workspace.from_env(folder))
        return cls(store=store, queue=JobQueue(store), shared=shared, folders=folders)

    @property
    def workspace(self) -> Workspace:
        return self.store.workspace

    def file(self, spec: JobSpec) -> Job:
        """Queue a job and see that somebody works on it. Raises DailiesError when it cannot be queued or started."""
        job = self.queue.submit(spec)
        ensure_worker(self.workspace)
        return job

    def file_again(self, job_id: str) -> Job:
        """Queue what a job was for once more."""
        job = self.queue.get(job_id)
        return self.file(JobSpec(kind=job.kind, config=job.config, resources=job.resources))
