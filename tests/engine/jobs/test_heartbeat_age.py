"""Jobs whose worker hangs, clocks that are set, and the order of things that neither changes."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import update

from engine import process_identity as processes
from engine.cli.jobs import status_text
from engine.clock import now
from engine.jobs import heartbeat, heartbeat_age
from engine.jobs.heartbeat_age import SILENT_S, is_silent, silent_s
from engine.jobs.job_rows import newest_by
from engine.jobs.queue import JobQueue
from engine.jobs.runs.train_process import kill
from engine.jobs.spec import Job, JobProgress, JobSpec
from engine.process_identity import ProcessIdentity
from engine.storage import library as stores
from engine.storage.library import ClipFilter, ClipRecord
from engine.storage.schema import JOBS

ME = ProcessIdentity.current()
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JUMPS = pytest.mark.parametrize("jump", [-HOUR, DAY], ids=["an hour back", "a day forward"])


def set_clock(monkeypatch: pytest.MonkeyPatch, jump: timedelta) -> None:
    """What everything that asks for the moment sees when somebody sets the clock; the monotonic clock goes on."""
    real, real_time = stores.now, time.time

    def moved() -> object:
        return real() + jump

    for module in list(__import__("sys").modules.values()):
        if getattr(module, "now", None) is real:
            monkeypatch.setattr(module, "now", moved)
    monkeypatch.setattr(time, "time", lambda: real_time() + jump.total_seconds())
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + jump.total_seconds())


def running(queue: JobQueue, eta_s: float = 56.0) -> Job:
    job = queue.submit(JobSpec(kind="steps", config={}))
    assert queue.claim(ME) is not None
    queue.heartbeat(job.id, JobProgress(phase="step", step=1, of=3, eta_s=eta_s))
    return queue.get(job.id)


def let_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monotonic = time.monotonic
    monkeypatch.setattr(heartbeat_age.time, "monotonic", lambda: monotonic() + seconds)


def test_a_job_without_a_heartbeat_for_a_minute_is_silent(queue, monkeypatch):
    job = running(queue)
    assert not is_silent(job) and silent_s(job) < SILENT_S
    let_pass(monkeypatch, SILENT_S + 1)
    assert is_silent(job)
    assert (
        status_text(job) == f"no heartbeat since {job.heartbeat_at:%H:%M:%S} UTC: `dailies jobs kill {job.id}` ends it"
    )
    queue.finish(job.id, "done")
    assert not is_silent(queue.get(job.id))


def test_a_heartbeat_ends_the_silence(queue, monkeypatch):
    job = running(queue)
    let_pass(monkeypatch, SILENT_S + 1)
    queue.heartbeat(job.id)
    assert not is_silent(queue.get(job.id))


@JUMPS
def test_setting_the_clock_makes_no_running_job_silent_or_lost(queue, monkeypatch, jump):
    job = running(queue)
    set_clock(monkeypatch, jump)
    assert not is_silent(queue.get(job.id))
    assert queue.reconcile() == [] and queue.get(job.id).status == "running"
    let_pass(monkeypatch, SILENT_S + 1)
    assert is_silent(queue.get(job.id))


@JUMPS
def test_setting_the_clock_makes_no_other_program_of_a_process(monkeypatch, jump):
    set_clock(monkeypatch, jump)
    assert ME.is_alive
    assert not replace(ME, started_s=ME.started_s - 60).is_alive


@JUMPS
def test_a_job_of_another_host_is_not_lost_when_the_clock_is_set(queue, monkeypatch, jump):
    queue.submit(JobSpec(kind="steps", config={}))
    queue.claim(replace(ME, host="elsewhere"))
    queue.reconcile()
    set_clock(monkeypatch, jump)
    assert queue.reconcile() == []


@JUMPS
def test_jobs_keep_their_order_when_the_clock_is_set(queue, monkeypatch, jump):
    first, second = (queue.submit(JobSpec(kind="steps", config={})) for _ in range(2))
    set_clock(monkeypatch, jump)
    third = queue.submit(JobSpec(kind="steps", config={}))
    assert [job.id for job in queue.list()] == [third.id, second.id, first.id]
    assert [queue.claim(ME).id for _ in range(3)] == [first.id, second.id, third.id]
    [newest] = newest_by(queue.store.database, "steps", "steps").values()
    assert newest.id == third.id
    assert set(queue.cancel_all_but_current()) == {second.id, third.id}


def test_the_newest_job_stays_the_newest_when_it_is_moved_in_the_queue(queue):
    jobs = [queue.submit(JobSpec(kind="steps", config={"steps": steps})) for steps in (3, 4, 3, 5)]
    queue.move(jobs[2].id, 1)
    newest = newest_by(queue.store.database, "steps", "steps")
    assert {value: job.id for value, job in newest.items()} == {"3": jobs[2].id, "4": jobs[1].id, "5": jobs[3].id}
    assert newest_by(queue.store.database, "steps", "steps", "4").keys() == {"4"}


@JUMPS
def test_clips_are_listed_as_they_came_when_the_clock_is_set(store, monkeypatch, jump):
    def add(number: int) -> None:
        store.add_clip(
            ClipRecord(
                id=f"{number:016x}", prompt="", source="imported", num_frames=1, width=16, height=16, fps=8.0,
                created_at=stores.now(),
            )
        )  # fmt: skip

    add(2), add(1)
    set_clock(monkeypatch, jump)
    add(3)
    store.add_clip(store.clip(f"{2:016x}"))  # once more: it keeps its place
    assert [int(clip.id, 16) for clip in store.clips(ClipFilter(order="newest"))] == [3, 1, 2]
    assert [int(clip.id, 16) for clip in store.clips(ClipFilter(order="oldest"))] == [2, 1, 3]


@JUMPS
def test_the_newest_report_is_the_one_that_was_written_last(store, monkeypatch, jump):
    clip = ClipRecord(id="0" * 16, prompt="", source="imported", num_frames=1, width=16, height=16, fps=8.0)
    store.add_clip(clip)
    store.save_report(clip.id, "b", {"total": 0.1, "results": {}})
    set_clock(monkeypatch, jump)
    store.save_report(clip.id, "a", {"total": 0.9, "results": {}})
    assert store.report(clip.id)["total"] == store.clip(clip.id).total == 0.9


@JUMPS
def test_the_time_left_does_not_follow_the_clock(monkeypatch, jump):
    pace = heartbeat.EtaEstimator()
    pace.timed(JobProgress(phase="p", step=0, of=4), time.monotonic())
    before = time.monotonic()
    set_clock(monkeypatch, jump)
    assert abs(time.monotonic() - before) < 60


def test_a_stopped_worker_is_silent_and_can_be_killed(
    queue: JobQueue,
    tmp_path: Path,
    start_worker: Callable[[], psutil.Process],
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    job = queue.submit(JobSpec(kind="steps", config={"hold": str(hold)}))
    worker = start_worker()
    until(lambda: queue.get(job.id).progress, "the job to run")
    with queue.store.database.writing():  # a worker that is stopped while it writes would keep SQLite locked
        worker.send_signal(signal.SIGSTOP)
        until(lambda: worker.status() == psutil.STATUS_STOPPED, "the worker to be stopped")
    before = queue.get(job.id).heartbeat_s
    let_pass(monkeypatch, SILENT_S + 1)
    silent = queue.get(job.id)
    assert is_silent(silent) and silent.heartbeat_s == before
    kill(queue, job.id)
    until(lambda: not ProcessIdentity.of(worker.pid), "the worker to be gone")
    queue.reconcile()
    assert queue.get(job.id).status == "cancelled"


def test_a_hung_worker_that_watches_a_process_is_killed_with_it(
    queue: JobQueue,
    tmp_path: Path,
    start_worker: Callable[[], psutil.Process],
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worker and attendant are stopped: neither can see that it is asked to end."""
    folder = tmp_path / "filled"
    folder.mkdir()
    job = queue.submit(JobSpec(kind="watch", config={"argv": ["sleep", "100"], "folder": str(folder)}))
    worker = start_worker()

    def handle() -> object:
        progress = queue.get(job.id).progress
        return progress and progress.handle

    until(handle, "the process to be watched")
    attendant = psutil.Process(handle().process.pid)
    until(attendant.children, "the attendant's child")
    (child,) = attendant.children()
    with queue.store.database.writing():  # a worker that is stopped while it writes would keep SQLite locked
        for process in (worker, attendant):
            process.send_signal(signal.SIGSTOP)
    let_pass(monkeypatch, SILENT_S + 1)
    kill(queue, job.id)
    until(lambda: not any(ProcessIdentity.of(one.pid) for one in (worker, attendant, child)), "all to be gone")
    queue.reconcile()
    assert queue.get(job.id).is_over


def test_a_process_whose_name_has_brackets_is_named_right(monkeypatch, tmp_path):
    """/proc/PID/stat has the name in brackets, unescaped."""
    assert processes.ProcessIdentity.of(os.getpid()).started_s == pytest.approx(ME.started_s, abs=0.02)
    assert abs(psutil.Process().create_time() - psutil.boot_time() - ME.started_s) < 1.5


def test_heartbeats_of_another_boot_are_told_by_the_clock(queue):
    job = running(queue)
    with queue.store.database.writing() as connection:
        old = {"boot_id": "another", "heartbeat_at": now() - timedelta(minutes=5)}
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(**old))
    assert silent_s(queue.get(job.id)) > 290
