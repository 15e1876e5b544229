"""`dailies jobs` and `dailies worker`: the queue and the process that works on it, seen from a shell."""

import argparse
import codecs
import time
from typing import TYPE_CHECKING, Any

from engine.cli.output import describe, print_json, print_table, shorten
from engine.errors import ConfigError, JobError

if TYPE_CHECKING:
    from pathlib import Path

    from engine.jobs.queue import JobQueue
    from engine.jobs.spec import Job
    from engine.workspace import Workspace

FOLLOW_S = 0.5
PIECE_BYTES = 2**20


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    add_jobs(commands, shared)
    add_worker(commands, shared)


def add_jobs(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("jobs", help="list, look at, order, pause and cancel background jobs")
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    listing = verbs.add_parser("ls", parents=[shared], help="list jobs, newest first")
    listing.add_argument("--status", help="only these: queued, running, stopping, done, failed, cancelled, lost")
    listing.add_argument("--kind", help="only these: generate, score")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="default: 20")
    listing.set_defaults(run=list_jobs)
    for name, run, words in (
        ("show", show_job, "everything about one job"),
        ("cancel", cancel_job, "end a queued job, or stop a running one at its next step"),
        ("kill", kill_job, "end a running job at once: a run loses what came after its last checkpoint"),
        ("move", move_job, "give a queued job another place in the queue"),
        ("priority", prioritise, "put a queued job before those of lower priority"),
        ("logs", show_log, "what a job has logged"),
    ):
        verb = verbs.add_parser(name, parents=[shared], help=words)
        several = {"nargs": "?"} if name == "cancel" else {}
        verb.add_argument("id", help="the job's id, or its beginning", **several)
        verb.set_defaults(run=run)
    verbs.choices["move"].add_argument("position", type=int, help="1 is the next to start")
    verbs.choices["priority"].add_argument("priority", choices=("high", "normal", "low"), help="jobs begin as normal")
    many = verbs.choices["cancel"].add_mutually_exclusive_group()
    many.add_argument("--pending", action="store_true", help="every job that waits")
    many.add_argument("--all-but-current", action="store_true", help="every job but the one that runs")
    for name, run, words in (
        ("pause", pause, "start no further job; what runs goes on"),
        ("resume", go_on, "start jobs again"),
    ):
        verbs.add_parser(name, parents=[shared], help=words).set_defaults(run=run)
    verbs.choices["logs"].add_argument("-f", "--follow", action="store_true", help="go on until the job is over")


def add_worker(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("worker", help="look at, release or stop the process that runs jobs")
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    for name, run, words in (
        ("show", show_worker, "whether a worker lives, and what it does"),
        ("release", release, "let go of the loaded model, after the running job"),
        ("stop", stop, "end the worker; a running job goes back into the queue"),
    ):
        verbs.add_parser(name, parents=[shared], help=words).set_defaults(run=run)


def open_queue(options: argparse.Namespace) -> "JobQueue":
    """The workspace's queue, with jobs whose worker was killed already marked as lost."""
    from engine.jobs.queue import JobQueue
    from engine.storage.library import Library

    queue = JobQueue(Library(open_workspace(options)))
    queue.reconcile()
    return queue


def open_workspace(options: argparse.Namespace) -> "Workspace":
    from engine.workspace import Workspace

    return Workspace.from_env(options.workspace)


def list_jobs(options: argparse.Namespace) -> None:
    from engine.jobs.spec import STATUSES
    from engine.suggestions import did_you_mean

    if options.status is not None and options.status not in STATUSES:
        hint = did_you_mean(options.status, STATUSES)
        raise ConfigError(f"There is no status '{options.status}'. {hint}")
    jobs = open_queue(options).list(options.status, options.kind, limit=options.limit)
    if options.json:
        print_json([job.to_dict() for job in jobs])
        return
    rows = [(job.id, job.kind, job.status, f"{job.created_at:%Y-%m-%d %H:%M:%S}", where(job)) for job in jobs]
    print_table(("id", "kind", "status", "filed (UTC)", "where it is"), rows)


def where(job: "Job") -> str:
    """Where a job is, in a few words."""
    from engine.jobs.heartbeat_age import is_silent

    if is_silent(job):
        return f"no sign of life since {job.heartbeat_at:%H:%M:%S} UTC: `dailies jobs kill {job.id}` ends it"
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
    queue, several = open_queue(options), options.pending or options.all_but_current
    if bool(options.id) == several:
        raise ConfigError("Name one job to cancel, or say --pending or --all-but-current.")
    from engine.jobs.job_rows import jobs_of

    if not several:
        return print_job(queue.cancel(options.id), options)
    ended = queue.cancel_waiting() if options.pending else queue.cancel_all_but_current()
    if options.json:
        print_json([job.to_dict() for job in jobs_of(queue.store.database, ended)])
    else:
        print(f"Cancelled {len(ended):,} jobs." if len(ended) != 1 else "Cancelled 1 job.")


def kill_job(options: argparse.Namespace) -> None:
    from engine.jobs.handlers.train_process import kill

    print_job(kill(open_queue(options), options.id), options)


def move_job(options: argparse.Namespace) -> None:
    print_job(open_queue(options).move(options.id, options.position), options)


def prioritise(options: argparse.Namespace) -> None:
    print_job(open_queue(options).prioritise(options.id, options.priority), options)


def pause(options: argparse.Namespace) -> None:
    open_queue(options).pause()
    tell(options, {"paused": True}, "The queue is paused: what runs goes on, nothing further starts.")


def go_on(options: argparse.Namespace) -> None:
    from engine.jobs.worker_control import reconcile_and_ensure_worker

    queue = open_queue(options)
    queue.resume()
    reconcile_and_ensure_worker(queue)
    tell(options, {"paused": False}, "The queue goes on.")


def tell(options: argparse.Namespace, facts: dict[str, Any], sentence: str) -> None:
    if options.json:
        print_json(facts)
    else:
        print(sentence)


def print_job(job: "Job", options: argparse.Namespace, **more: Any) -> None:
    facts = {**job.to_dict(), **more}
    if options.json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value not in (None, {}) and name != "worker":
            print(f"{name:12}  {words(name, value, job)}")


def words(name: str, value: Any, job: "Job") -> str:
    """One fact of a job, for people."""
    if name == "history":
        return ", ".join(f"{entry['event']} {entry['at']}" for entry in value)
    return describe(job.progress) if name == "progress" and job.progress else str(value)


def show_log(options: argparse.Namespace) -> None:
    """Print a job's log; with `--follow`, what is added to it until the job is over."""
    queue = open_queue(options)
    job = queue.get(options.id)
    path = queue.store.workspace.job_log(job.id)
    offset, over = 0, False
    while not over:
        over = job.is_over or not options.follow
        offset = print_on(path, offset)
        if not over:
            time.sleep(FOLLOW_S)
            queue.reconcile()
            job = queue.get(job.id)
    if not offset:
        raise JobError(f"Job {job.id} has logged nothing: it is {job.status}.")


def print_on(path: "Path", offset: int) -> int:
    """Print what a file has from this byte on, a piece at a time; the byte after the last."""
    if not path.exists():
        return offset
    reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            print(reader.decode(piece), end="", flush=True)
        return file.tell() - len(reader.getstate()[0])  # a sign that is not all there yet is read again


def show_worker(options: argparse.Namespace) -> None:
    from engine.jobs.worker_control import worker_state

    state = worker_state(open_workspace(options))
    if options.json:
        known = (
            {"pid": state.worker.pid, "state": state.state, "job": state.job_id, "model": state.model} if state else {}
        )
        print_json({"lives": state is not None, **known})
    elif state is None:
        print("No worker lives; the next job starts one.")
    else:
        doing = f"runs job {state.job_id}" if state.job_id else "waits for jobs"
        print(f"The worker (pid {state.worker.pid}) {doing}; loaded model: {state.model or 'none'}.")


def release(options: argparse.Namespace) -> None:
    from engine.jobs.worker_control import release_worker

    answer(options, "released", release_worker(open_workspace(options)), "The worker lets go of its model.")


def stop(options: argparse.Namespace) -> None:
    from engine.jobs.worker_control import stop_worker

    answer(options, "stopped", stop_worker(open_workspace(options)), "The worker has ended.")


def answer(options: argparse.Namespace, verb: str, was_done: bool, sentence: str) -> None:
    if options.json:
        print_json({verb: was_done})
    else:
        print(sentence if was_done else "No worker lives: there is nothing to do.")
