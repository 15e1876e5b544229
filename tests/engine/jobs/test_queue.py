"""The queue's states, each change one transaction, on SQLite and PostgreSQL."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.clock import now
from engine.errors import ConfigError, JobCancelled, JobError
from engine.execution.resources import Resources
from engine.jobs import heartbeat_age
from engine.jobs.events import record_event
from engine.jobs.queue import SILENCE, JobQueue
from engine.jobs.spec import JobProgress, JobSpec
from engine.jobs.submission import submit_job
from engine.process_identity import ProcessIdentity
from engine.storage.schema import JOBS

ME = ProcessIdentity.current()
DEAD = replace(ME, started_s=ME.started_s - 60)
ELSEWHERE = replace(ME, host="elsewhere")


def steps(number: int = 3) -> JobSpec:
    return JobSpec(kind="steps", config={"steps": number})


def test_jobs_are_taken_in_the_order_they_were_filed(queue):
    submitted = [queue.submit(steps(number)) for number in range(3)]
    assert [job.position for job in submitted] == [1, 2, 3]
    assert [job.config["steps"] for job in queue.list()] == [2, 1, 0]
    assert [queue.claim(ME).id for _ in submitted] == [job.id for job in submitted]
    assert queue.claim(ME) is None


def test_a_claimed_job_is_running_and_knows_by_whom(queue):
    queue.submit(steps())
    behind = queue.submit(steps())
    job = queue.claim(ME)
    assert (job.status, job.worker, job.pid, job.position) == ("running", ME, os.getpid(), None)
    assert job.started_at is not None and job.heartbeat_at is not None
    assert queue.get(behind.id).position == 1


def test_a_job_is_found_by_the_beginning_of_its_id(queue):
    job = queue.submit(steps())
    assert queue.get(job.id[:5]).id == job.id
    for wrong in ("", "zzzz", "%", "_" * 8):
        with pytest.raises(JobError, match="There is no job"):
            queue.get(wrong)


def test_an_ambiguous_beginning_is_said_to_be_one(queue):
    for number in range(17):  # two of them begin with the same of 16 digits
        queue.submit(steps(number))
    first = [job.id[0] for job in queue.list()]
    shared = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(JobError, match="More than one job begins with"):
        queue.get(shared)


def test_lists_can_be_narrowed(queue):
    queue.submit(JobSpec(kind="fail", config={"expected": True}))
    running, queued = queue.submit(steps()), queue.submit(steps())
    queue.finish(queue.claim(ME).id, "failed", error="It failed.")
    queue.claim(ME)
    assert [job.id for job in queue.list("running")] == [running.id]
    assert [job.id for job in queue.list(["running", "queued"])] == [queued.id, running.id]
    assert [job.kind for job in queue.list(kind="fail")] == ["fail"]
    assert len(queue.list(limit=2)) == 2


@pytest.mark.parametrize(
    ("spec", "error", "sentence"),
    [
        (JobSpec(kind="stpes", config={}), JobError, "Unknown kind of job 'stpes'. Did you mean 'steps'"),
        (JobSpec(kind="steps", config={"stesp": 1}), ConfigError, "Unknown key 'stesp' .* Did you mean 'steps'"),
        (JobSpec(kind="steps", config={"steps": "many"}), ConfigError, "steps = 'many' is invalid"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_queued(queue, spec, error, sentence):
    with pytest.raises(error, match=sentence):
        queue.submit(spec)
    assert queue.list() == []


def test_a_worker_leaves_kinds_alone_that_it_does_not_know(queue, store, kinds):
    queue.submit(steps())
    narrow = JobQueue(store, {"fail": kinds["fail"]})
    assert not narrow.is_waiting() and narrow.claim(ME) is None
    assert queue.claim(ME) is not None


def test_a_queued_job_is_cancelled_at_once(queue):
    job = queue.submit(steps())
    cancelled = queue.cancel(job.id)
    assert cancelled.status == "cancelled" and cancelled.ended_at is not None and cancelled.is_over
    assert queue.cancel(job.id).status == "cancelled", "a double click is harmless"
    assert queue.claim(ME) is None


def test_a_running_job_stops_at_its_next_heartbeat(queue):
    queue.submit(steps())
    job = queue.claim(ME)
    queue.heartbeat(job.id, JobProgress(phase="step", step=1, of=3, eta_s=2.0))
    assert queue.get(job.id).progress == JobProgress(phase="step", step=1, of=3, eta_s=2.0)
    assert queue.cancel(job.id).status == queue.cancel(job.id).status == "stopping"
    with pytest.raises(JobCancelled, match="was cancelled"):
        queue.heartbeat(job.id)
    queue.finish(job.id, "cancelled")
    assert queue.get(job.id).status == "cancelled"


@pytest.mark.parametrize(("status", "exit_code"), [("done", 0), ("failed", 1)])
def test_a_job_that_is_over_stays_as_it_ended(queue, status, exit_code):
    queue.submit(steps())
    job = queue.claim(ME)
    queue.finish(job.id, status, result={"clip_ids": ["a"]}, error="A sentence.")
    ended = queue.get(job.id)
    assert (ended.status, ended.exit_code, ended.result) == (status, exit_code, {"clip_ids": ["a"]})
    queue.finish(job.id, "lost")
    queue.put_back(job.id)
    with pytest.raises(JobCancelled, match="taken"):
        queue.heartbeat(job.id)
    with pytest.raises(JobError, match=f"cannot be cancelled: it is {status} already"):
        queue.cancel(job.id)
    assert queue.get(job.id) == ended


def test_a_job_ends_whatever_its_error_and_its_files_are_called(queue):
    queue.submit(steps())
    job = queue.claim(ME)
    queue.finish(job.id, "failed", result={"unread": {"b\udcff.mp4": "no\0"}}, error="a tool said \0 and \ud800")
    ended = queue.get(job.id)
    assert (ended.error, ended.result) == ("a tool said \ufffd and \ufffd", {"unread": {"b\ufffd.mp4": "no\ufffd"}})


@pytest.mark.parametrize("bad", ["a\0b", "half \ud800"])
def test_a_text_that_cannot_be_stored_files_nothing(queue, bad):
    for spec in (JobSpec.model_construct(kind="steps", config={}, resources=Resources(), priority=None),):
        with pytest.raises(ConfigError):
            queue.submit(spec.model_copy(update={"config": {"steps": bad}}))
    with pytest.raises((ConfigError, JobError)):
        queue.get(bad)
    assert queue.list() == []


def test_a_request_of_one_key_files_one_job(queue):
    first, again, other = (queue.submit(steps(), key) for key in ("key-one-1", "key-one-1", "key-two-2"))
    assert first.id == again.id != other.id and len(queue.list()) == 2
    queue.cancel(first.id)
    assert queue.submit(steps(), "key-one-1").status == "cancelled"  # it was submitted, and is over


def test_two_requests_of_one_key_at_once_file_one_job(queue):
    together = threading.Barrier(4)

    def submit(_: int) -> str:
        together.wait(10)
        return queue.submit(JobSpec(kind="steps", config={}), "one request").id

    with ThreadPoolExecutor(4) as windows:
        assert len(set(windows.map(submit, range(4)))) == 1
    assert len(queue.list()) == 1


def test_jobs_that_ended_are_reported_once_each_in_pieces(queue):
    _, number = queue.ended_since(None)
    ids = [queue.submit(JobSpec(kind="steps", config={})).id for _ in range(5)]
    for job_id in ids:
        queue.cancel(job_id)
    reported = []
    for _ in range(4):
        jobs, number = queue.ended_since(number, limit=2)
        reported += [job.id for job in jobs]
    assert reported == ids


def test_an_end_that_is_recorded_late_is_reported(queue, store):
    """A transaction has its number but is not over while another job ends."""
    if store.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    _, number = queue.ended_since(None)
    first, second = (queue.submit(JobSpec(kind="steps", config={})).id for _ in range(2))
    reported, entered = [], threading.Event()

    def ask() -> None:
        entered.set()
        position = number
        for _ in range(2):
            jobs, position = queue.ended_since(position)
            reported.extend(job.id for job in jobs)

    browser = threading.Thread(target=ask)
    with store.database.writing() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == first).values(status="cancelled"))
        record_event(connection, first, "cancelled")
        queue.cancel(second)
        browser.start()
        entered.wait(10)
        browser.join(0.3)
    browser.join(30)
    assert sorted(reported) == sorted([first, second])


def test_a_repeated_request_leaves_the_job_of_the_first_when_no_worker_starts(queue, workspace):
    spec = JobSpec(kind="steps", config={})
    job = queue.submit(spec, "the browser's request")
    workspace.worker_log.mkdir(parents=True)  # where a worker writes its log
    for key in ("the browser's request", "another request"):
        with pytest.raises(JobError, match="No worker can be started"):
            submit_job(queue, spec, key)
    assert [queued.id for queued in queue.list("queued")] == [job.id]


def test_a_job_put_back_has_its_old_place(queue):
    first, second = queue.submit(steps()), queue.submit(steps())
    queue.claim(ME)
    queue.heartbeat(first.id, JobProgress(phase="step"))
    queue.put_back(first.id)
    assert (queue.get(first.id).position, queue.get(second.id).position) == (1, 2)
    assert queue.get(first.id).progress is None


def test_a_job_put_back_while_it_was_to_stop_is_cancelled(queue):
    job = queue.submit(steps())
    queue.claim(ME)
    queue.cancel(job.id)
    queue.put_back(job.id)
    assert queue.get(job.id).status == "cancelled"


def test_a_job_whose_worker_is_gone_is_lost_with_a_sentence(queue):
    """The pid is in use (it is ours), but by another program than the worker."""
    job = queue.submit(steps())
    queue.claim(DEAD)
    (lost,) = queue.reconcile()
    assert (lost.id, lost.status, lost.exit_code) == (job.id, "lost", None)
    assert f"worker (pid {os.getpid()}) ended before the job did" in lost.error and "submit the job again" in lost.error
    assert queue.reconcile() == []


def test_a_job_to_stop_whose_worker_is_gone_is_cancelled(queue):
    job = queue.submit(steps())
    queue.claim(DEAD)
    queue.cancel(job.id)
    queue.reconcile()
    assert queue.get(job.id).status == "cancelled"


def test_a_job_whose_worker_lives_is_not_lost_however_silent(queue):
    job = queue.submit(steps())
    queue.claim(ME)
    age(queue, job.id)
    assert queue.reconcile() == [] and queue.get(job.id).status == "running"


def test_a_job_of_another_host_is_lost_when_it_falls_silent(queue, monkeypatch):
    job = queue.submit(steps())
    queue.claim(ELSEWHERE)
    assert queue.reconcile() == []
    age(queue, job.id)  # its clock and ours may differ by anything: only what we saw ourselves counts
    assert queue.reconcile() == []
    monotonic = time.monotonic
    monkeypatch.setattr(heartbeat_age.time, "monotonic", lambda: monotonic() + SILENCE.total_seconds() + 1)
    assert [lost.id for lost in queue.reconcile()] == [job.id]


def test_a_job_of_another_host_that_gives_signs_of_life_is_not_lost(queue, monkeypatch):
    job = queue.submit(steps())
    queue.claim(ELSEWHERE)
    assert queue.reconcile() == []
    monotonic = time.monotonic
    for minutes in range(1, 9):
        age(queue, job.id, minutes)
        monkeypatch.setattr(heartbeat_age.time, "monotonic", lambda past=minutes: monotonic() + 60 * past)
        assert queue.reconcile() == []


def age(queue: JobQueue, job_id: str, minutes: float = 0) -> None:
    """Let a job's last heartbeat be long ago, by the clock of its host."""
    long_ago = now() - SILENCE - timedelta(minutes=1 + minutes)
    with queue.store.database.writing() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(heartbeat_at=long_ago))


def test_a_job_as_json(queue):
    queue.submit(steps())
    shown = queue.claim(ME).to_dict()
    assert shown["pid"] == os.getpid() and shown["created_at"].endswith("Z") and shown["config"] == {"steps": 3}


def test_claiming_processes_never_share_a_job(queue, workspace):
    """Three processes take sixty jobs; each job is taken once."""
    submitted = [queue.submit(steps(number)).id for number in range(60)]
    program = (
        "import sys, job_kinds; from engine.storage.library import Library; from engine.workspace import Workspace\n"
        "from engine.jobs.queue import JobQueue; from engine.process_identity import ProcessIdentity\n"
        "queue = JobQueue(Library(Workspace.from_env()), job_kinds.KINDS); sys.stdin.read(1)\n"
        "while job := queue.claim(ProcessIdentity.current()):\n"
        "    print(job.id); queue.finish(job.id, 'done')\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    claimers = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(3)]
    for claimer in claimers:
        claimer.stdin.write("x")
        claimer.stdin.flush()
    taken = [line for claimer in claimers for line in claimer.communicate(timeout=120)[0].split()]
    assert [claimer.returncode for claimer in claimers] == [0, 0, 0]
    assert sorted(taken) == sorted(submitted)
    assert {job.status for job in queue.list()} == {"done"}
