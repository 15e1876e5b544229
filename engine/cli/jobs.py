"""`dailies jobs` and `dailies worker`: the queue, and the process that runs its jobs."""

import argparse
import codecs
import time
from pathlib import Path
from typing import Any

from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_result, print_table, shorten
from engine.cli.terminal.progress import describe
from engine.errors import ConfigError, JobError
from engine.jobs.heartbeat_age import is_silent
from engine.jobs.job_rows import jobs_of
from engine.jobs.queue import JobQueue
from engine.jobs.runs.train_process import kill
from engine.jobs.spec import STATUSES, Job
from engine.jobs.worker_control import reconcile_and_ensure_worker, release_worker, stop_worker
from engine.jobs.worker_state import worker_state
from engine.storage.library import Library
from engine.workspace import Workspace
from rewards.errors import did_you_mean

FOLLOW_S = 0.5
PIECE_BYTES = 2**20


def build_jobs(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("ls", list_jobs, help="list jobs, newest first")
    listing.add_argument(
        "--status", help="only jobs of this status: queued, running, stopping, done, failed, cancelled, lost"
    )
    listing.add_argument("--kind", help="only jobs of this kind, such as generate or score")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="default: 20")
    job_verbs = (
        ("show", show_job, "show a job and its history"),
        ("cancel", cancel_job, "cancel a queued job, or stop a running one at its next step"),
        ("kill", kill_job, "kill a running job: a run loses the updates after its last checkpoint"),
        ("move", move_job, "move a queued job to another place in the queue"),
        ("priority", prioritise, "put a queued job before those of lower priority"),
        ("logs", show_log, "print a job's log"),
    )
    parsers = {name: verbs.add(name, run, help=help_text) for name, run, help_text in job_verbs}
    for name, verb in parsers.items():
        verb.add_argument("id", nargs="?" if name == "cancel" else None, help="the job's id, or a unique prefix of it")
    parsers["move"].add_argument("position", type=int, help="new place; 1 is the next to start")
    parsers["priority"].add_argument("priority", choices=("high", "normal", "low"), help="new priority")
    many = parsers["cancel"].add_mutually_exclusive_group()
    many.add_argument("--pending", action="store_true", help="cancel all queued jobs")
    many.add_argument("--all-but-current", action="store_true", help="cancel all jobs but the running one")
    verbs.add("pause", pause, help="start no further job; running jobs continue")
    verbs.add("resume", resume, help="start jobs again")
    parsers["logs"].add_argument("-f", "--follow", action="store_true", help="follow the log until the job has ended")


def build_worker(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("show", show_worker, help="show whether a worker runs, and its job")
    verbs.add("release", release_model, help="release the loaded model after the running job")
    verbs.add("stop", stop, help="stop the worker; its running job returns to the queue")


def open_queue(options: argparse.Namespace) -> JobQueue:
    """Open the workspace's queue, and mark jobs of killed workers as lost."""
    queue = JobQueue(Library(open_workspace(options)))
    queue.reconcile()
    return queue


def open_workspace(options: argparse.Namespace) -> Workspace:
    return Workspace.from_env(options.workspace)


def list_jobs(options: argparse.Namespace) -> None:
    if options.status is not None and options.status not in STATUSES:
        hint = did_you_mean(options.status, STATUSES)
        raise ConfigError(f"There is no status '{options.status}'. {hint}")
    jobs = open_queue(options).list(options.status, options.kind, limit=options.limit)
    if options.json:
        print_json([job.to_dict() for job in jobs])
        return
    rows = [(job.id, job.kind, job.status, f"{job.created_at:%Y-%m-%d %H:%M:%S}", status_text(job)) for job in jobs]
    print_table(("id", "kind", "status", "submitted (UTC)", "progress"), rows)


def status_text(job: Job) -> str:
    """Return a job's progress, error or place in the queue in a few words."""
    if is_silent(job):
        return f"no heartbeat since {job.heartbeat_at:%H:%M:%S} UTC: `dailies jobs kill {job.id}` ends it"
    if job.error:
        return shorten(job.error, 80)
    if job.position is not None:
        return f"number {job.position} in the queue"
    return describe(job.progress) if job.progress and not job.is_over else ""


def show_job(options: argparse.Namespace) -> None:
    queue = open_queue(options)
    job = queue.get(options.id)
    history = [{"event": entry.event, "at": f"{entry.at:%Y-%m-%dT%H:%M:%SZ}"} for entry in queue.history(job.id)]
    print_job(job, options, history=history)


def cancel_job(options: argparse.Namespace) -> None:
    queue, cancels_many = open_queue(options), options.pending or options.all_but_current
    if bool(options.id) == cancels_many:
        raise ConfigError("Name one job to cancel, or use --pending or --all-but-current.")
    if not cancels_many:
        return print_job(queue.cancel(options.id), options)
    cancelled = queue.cancel_waiting() if options.pending else queue.cancel_all_but_current()
    if options.json:
        print_json([job.to_dict() for job in jobs_of(queue.store.database, cancelled)])
    else:
        print(f"Cancelled {len(cancelled):,} jobs." if len(cancelled) != 1 else "Cancelled 1 job.")


def kill_job(options: argparse.Namespace) -> None:
    print_job(kill(open_queue(options), options.id), options)


def move_job(options: argparse.Namespace) -> None:
    print_job(open_queue(options).move(options.id, options.position), options)


def prioritise(options: argparse.Namespace) -> None:
    print_job(open_queue(options).prioritise(options.id, options.priority), options)


def pause(options: argparse.Namespace) -> None:
    open_queue(options).pause()
    print_result(options, {"paused": True}, "The queue is paused: running jobs continue, no other job starts.")


def resume(options: argparse.Namespace) -> None:
    queue = open_queue(options)
    queue.resume()
    reconcile_and_ensure_worker(queue)
    print_result(options, {"paused": False}, "The queue has resumed.")


def print_job(job: Job, options: argparse.Namespace, **more: Any) -> None:
    facts = {**job.to_dict(), **more}
    if options.json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value not in (None, {}) and name != "worker":
            print(f"{name:12}  {format_fact(name, value, job)}")


def format_fact(name: str, value: Any, job: Job) -> str:
    """Return the text of one of a job's facts."""
    if name == "history":
        return ", ".join(f"{entry['event']} {entry['at']}" for entry in value)
    return describe(job.progress) if name == "progress" and job.progress else str(value)


def show_log(options: argparse.Namespace) -> None:
    """Print a job's log; with `--follow`, also the lines that are added until the job is over."""
    queue = open_queue(options)
    job = queue.get(options.id)
    path = queue.store.workspace.job_log(job.id)
    offset, over = 0, False
    while not over:
        over = job.is_over or not options.follow
        offset = print_from(path, offset)
        if not over:
            time.sleep(FOLLOW_S)
            queue.reconcile()
            job = queue.get(job.id)
    if not offset:
        raise JobError(f"Job {job.id} has no log: it is {job.status}.")


def print_from(path: Path, offset: int) -> int:
    """Print a file from byte `offset` on, a piece at a time; return the offset of the byte after the last."""
    if not path.exists():
        return offset
    reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            print(reader.decode(piece), end="", flush=True)
        return file.tell() - len(reader.getstate()[0])  # an incomplete character is read again


def show_worker(options: argparse.Namespace) -> None:
    state = worker_state(open_workspace(options))
    if options.json:
        facts = (
            {"pid": state.worker.pid, "state": state.state, "job": state.job_id, "model": state.model} if state else {}
        )
        print_json({"lives": state is not None, **facts})
    elif state is None:
        print("No worker runs; the next job starts one.")
    else:
        activity = f"runs job {state.job_id}" if state.job_id else "waits for jobs"
        print(f"The worker (pid {state.worker.pid}) {activity}; loaded model: {state.model or 'none'}.")


def release_model(options: argparse.Namespace) -> None:
    print_outcome(options, "released", release_worker(open_workspace(options)), "The worker releases its model.")


def stop(options: argparse.Namespace) -> None:
    print_outcome(options, "stopped", stop_worker(open_workspace(options)), "The worker has stopped.")


def print_outcome(options: argparse.Namespace, verb: str, was_done: bool, sentence: str) -> None:
    if options.json:
        print_json({verb: was_done})
    else:
        print(sentence if was_done else "No worker runs: nothing to do.")
