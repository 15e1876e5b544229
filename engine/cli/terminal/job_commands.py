"""Jobs of commands: in this process, or queued for the worker."""

import argparse
from contextlib import closing
from typing import Any

from engine.cli.terminal.output import print_result
from engine.cli.terminal.progress import run_to_end
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.submission import submit_job
from engine.storage.library import Library
from engine.workspace import Workspace


def run_in_process(kind: str, config: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Run a job's handler in this process and return its result."""
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        return run_to_end(kind_of(kind, KINDS).start(config, JobContext(store=library)))


def queue_job(spec: JobSpec, options: argparse.Namespace) -> None:
    """Queue a job, ensure that a worker runs, and show the job."""
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        job = submit_job(JobQueue(library), spec)
    print_result(options, job.to_dict(), f"Job {job.id} is queued. `dailies jobs show {job.id}` shows its progress.")
