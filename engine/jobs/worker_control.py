"""Control of the worker by the page and the CLI: start it, release its model, stop it."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import psutil

from engine.errors import JobError
from engine.files.locks import try_lock
from engine.hardware.environment import merge_env, process_environment
from engine.hardware.job_environment import changes_to
from engine.jobs.queue import JobQueue
from engine.jobs.worker_state import worker_state
from engine.package_data import IMPORT_ROOT
from engine.workspace import Workspace

LOG_LIMIT_BYTES = 4 * 2**20


def ensure_worker(
    workspace: Workspace, *, kinds: str | None = None, environment: Mapping[str, str] | None = None
) -> bool:
    """Start the workspace's worker unless one runs; return True when it was started.

    Call it after a submission. The caller takes the worker lock and the worker inherits it, so that two callers never
    start two workers.
    `kinds` is the "module:NAME" of another table of job kinds; `environment` that of the jobs to run, if
    not this process's (see `engine.hardware.job_environment`). Raises JobError when no process can be started.
    """
    lock = try_lock(workspace.prepare().worker_lock)
    if lock is None:
        return False
    try:
        _start(workspace, lock, ["--kinds", kinds] if kinds else [], environment)
    except OSError as error:
        raise JobError(f"No worker can be started for {workspace.root}: {error.strerror or error}.") from error
    finally:
        os.close(lock)
    return True


def reconcile_and_ensure_worker(queue: JobQueue) -> None:
    """Mark lost jobs as lost, and start a worker if jobs wait for one.

    The page calls it every few seconds.
    """
    queue.reconcile()
    if queue.is_waiting():
        ensure_worker(queue.store.workspace, environment=queue.awaited_environment())


def release_worker(workspace: Workspace) -> bool:
    """Let the worker release its model, after its running job; return False when no worker runs."""
    if worker_state(workspace) is None:
        return False
    workspace.release_flag.touch()
    return True


def stop_worker(workspace: Workspace, timeout_s: float = 20.0) -> bool:
    """End the worker, return its jobs to the queue, and wait for it; return False when no worker ran.

    Raises JobError when it still runs after `timeout_s` seconds.
    """
    state = worker_state(workspace)
    if state is None:
        return False
    try:
        process = psutil.Process(state.worker.pid)
        process.terminate()
        process.wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired as error:
        raise JobError(
            f"The worker (pid {state.worker.pid}) did not end within {timeout_s:g} s: it is in the middle of a step; "
            "try again."
        ) from error
    return True


def _start(workspace: Workspace, lock: int, options: list[str], environment: Mapping[str, str] | None) -> None:
    variables = process_environment(workspace)
    if environment is not None:
        variables = merge_env(variables, changes_to(environment))
    command = [sys.executable, "-m", "engine.jobs.worker", "--workspace", str(workspace.root), "--lock", str(lock)]
    with _open_log(workspace.worker_log) as log:
        process = subprocess.Popen(
            [*command, *options],
            cwd=IMPORT_ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
        )
    # Its parent must wait for it, or it stays a zombie for as long as the page runs.
    threading.Thread(target=process.wait, name=f"reaper-{process.pid}", daemon=True).start()


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab", buffering=0)
