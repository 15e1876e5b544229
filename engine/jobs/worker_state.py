"""The state that a worker publishes in its workspace: its job, its model, its database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from engine.errors import JobError
from engine.files.atomic import partial_file
from engine.process_identity import ProcessIdentity
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The last published state of a worker: its job, model and database, and the environment of its jobs.

    `database` is a URL without a password; None in a state of an older version.
    """

    worker: ProcessIdentity
    state: Literal["idle", "busy", "ended"]
    job_id: str | None = None
    model: str | None = None
    database: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.state != "ended" and self.worker.is_alive


STATE = TypeAdapter(WorkerState)


def worker_state(workspace: Workspace) -> WorkerState | None:
    """Return the worker's published state; None when no worker runs."""
    try:
        state = STATE.validate_json(workspace.worker_state.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return state if state.is_alive else None


def write_state(workspace: Workspace, state: WorkerState) -> None:
    with partial_file(workspace.worker_state) as partial:
        partial.write_bytes(STATE.dump_json(state))


def check_served(workspace: Workspace, database: str) -> None:
    """Raise JobError when the workspace's worker serves another database and would never start the job."""
    state = worker_state(workspace)
    if state is not None and state.database not in (None, database):
        raise JobError(
            f"The job would wait in {database}, but the worker of {workspace.root} (pid {state.worker.pid}) serves "
            f"{state.database}: set DAILIES_DATABASE_URL to that, or end the worker with `dailies worker stop`."
        )
