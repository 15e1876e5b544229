"""Jobs whose worker is gone: find their processes, so that another worker can adopt them.

A process is found by the handle in the job's row, or, before that was written, by the folder of the run.
"""

from engine.errors import ConfigError
from engine.execution.process_runner import Handle, find_running, open_runner
from engine.jobs.spec import TRAIN, Job
from engine.runs.run import Run
from engine.workspace import Workspace


def process_of(job: Job, workspace: Workspace) -> Handle | None:
    """Return the handle of a job's own process; None when the worker does the job, or no process is found."""
    if job.progress is not None and job.progress.handle is not None:
        return job.progress.handle
    run_id = job.config.get("run") if job.kind == TRAIN else None
    try:
        running = find_running(Run.find(workspace, run_id).folder) if run_id else None
    except ConfigError:  # the run was deleted
        return None
    return running[1] if running else None


def is_still_running(job: Job, workspace: Workspace) -> bool:
    """Return True when the job's process runs or recorded its exit code: then the job is not lost."""
    handle = process_of(job, workspace)
    if handle is None:
        return False
    try:
        return open_runner(handle.runner, handle.address).poll(handle).state != "lost"
    except ConfigError:  # its cluster is no longer configured here
        return False


def lost_message(job: Job) -> str:
    """Return the error of a job whose worker is gone."""
    return (
        f"The worker (pid {job.pid}) ended before the job did: it was killed, or the machine was restarted. "
        "Its finished results are kept: resume the run, or submit the job again, to make the rest."
    )
