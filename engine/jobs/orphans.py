"""Jobs whose worker is gone: whether the process that does the work goes on, so that another worker can go on watching.

The process is found by the job's row, or, before it stood there, by the folder of the run.
"""

from engine.errors import ConfigError
from engine.execution.process_runner import Handle, find_running, open_runner
from engine.jobs.spec import TRAIN, Job
from engine.runs.run import Run
from engine.workspace import Workspace


def process_of(job: Job, workspace: Workspace) -> Handle | None:
    """What does the job, where that is a process of its own. None: the worker does, or it is not to be found."""
    if job.progress is not None and job.progress.handle is not None:
        return job.progress.handle
    run_id = job.config.get("run") if job.kind == TRAIN else None
    try:
        found = find_running(Run.find(workspace, run_id).folder) if run_id else None
    except ConfigError:  # the run was deleted
        return None
    return found[1] if found else None


def is_still_running(job: Job, workspace: Workspace) -> bool:
    """Whether the job's process runs, or ended and said how: then it is not lost, whatever became of its worker."""
    handle = process_of(job, workspace)
    if handle is None:
        return False
    try:
        return open_runner(handle.runner, handle.address).poll(handle).state != "lost"
    except ConfigError:  # its cluster is not set up here any more
        return False


def epitaph(job: Job) -> str:
    """What a job says whose worker is gone."""
    return (
        f"The worker (pid {job.pid}) ended before the job did: it was killed, or the machine was restarted. "
        "What it had finished is kept: resume the run, or file the job again, to make the rest."
    )
