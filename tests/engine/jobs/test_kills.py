"""What is killed, and what goes on: workers, the processes that they watch, and a machine that was restarted."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, update

from engine.execution.process_runner import load_handle, open_runner
from engine.execution.resources import Resources
from engine.jobs.queue import PROGRESS, JobQueue
from engine.jobs.spec import Job, JobProgress, JobSpec
from engine.jobs.worker_control import ensure_worker, reconcile_and_ensure_worker
from engine.jobs.worker_state import worker_state
from engine.process_identity import ProcessIdentity
from engine.storage.schema import JOBS, LEASES

KINDS_PATH = "job_kinds:KINDS"
PATIENT = (
    "import pathlib, sys, time\nwhile pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\nsys.exit(int(sys.argv[2]))"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the watched process fills."""
    made = tmp_path / "filled"
    made.mkdir()
    return made


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While this file is there, the watched process goes on."""
    path = tmp_path / "hold"
    path.touch()
    return path


def watching(folder: Path, hold: Path, exit_code: int = 0) -> JobSpec:
    argv = [sys.executable, "-c", PATIENT, str(hold), str(exit_code)]
    return JobSpec(kind="watch", config={"argv": argv, "folder": str(folder)})


@pytest.fixture
def orphan(
    queue: JobQueue,
    folder: Path,
    hold: Path,
    start_worker: Callable[[], psutil.Process],
    until: Callable[[Callable[[], object], str], None],
) -> Job:
    """A job whose worker was killed while what it watched goes on."""
    job = queue.submit(watching(folder, hold))
    worker = start_worker()
    until(lambda: queue.get(job.id).progress, "the process to be watched")
    worker.kill()
    worker.wait(10)
    return queue.get(job.id)


@pytest.fixture
def forgotten(queue: JobQueue, folder: Path, hold: Path) -> Job:
    """As `orphan`, without the seconds that a worker takes to start: claimed by a process that has ended."""
    job = queue.submit(watching(folder, hold))
    assert queue.claim(replace(ProcessIdentity.current(), started_s=0.0)) == queue.get(job.id)
    argv = job.config["argv"]
    handle = open_runner("local").submit(argv, env={}, cwd=folder, resources=Resources(), run_dir=folder)
    queue.heartbeat(job.id, JobProgress(phase="train", handle=handle))
    return queue.get(job.id)


def watched_process(folder: Path) -> ProcessIdentity:
    handle = load_handle(folder)
    assert handle is not None and handle.process is not None
    return handle.process


def events(queue: JobQueue, job: Job) -> list[str]:
    return [entry.event for entry in queue.history(job.id)]


def num_leases(queue: JobQueue) -> int:
    with queue.store.database.reading() as connection:
        return len(connection.execute(select(LEASES)).all())


def test_the_next_worker_goes_on_watching(queue, folder, hold, orphan, start_worker, until):
    assert queue.reconcile() == [] and queue.get(orphan.id).status == "running", "it is not lost: it runs"
    assert num_leases(queue) == 12 and queue.claim(ProcessIdentity.current()) is None, "and it holds its device"
    second = start_worker()
    until(lambda: queue.get(orphan.id).pid == second.pid, "the job to be adopted")
    hold.unlink()
    until(lambda: queue.get(orphan.id).is_over, "the job to end")
    assert (queue.get(orphan.id).status, queue.get(orphan.id).result) == ("done", {"exit_code": 0})
    assert events(queue, orphan) == ["queued", "running", "adopted", "done"]
    assert len(list((folder / "attempts").iterdir())) == 1, "nothing was started twice"
    assert num_leases(queue) == 0


def test_what_ended_while_nobody_watched_is_known_by_what_it_left(queue, folder, hold, forgotten, start_worker, until):
    handle = load_handle(folder)
    hold.unlink()
    until(lambda: handle.attempt.exit_code() is not None, "the process to end")
    assert queue.reconcile() == []
    start_worker()
    until(lambda: queue.get(forgotten.id).is_over, "the job to be concluded")
    assert (queue.get(forgotten.id).status, queue.get(forgotten.id).result) == ("done", {"exit_code": 0})
    assert len(list((folder / "attempts").iterdir())) == 1


def test_a_page_starts_a_worker_for_what_goes_on_alone(queue, workspace, hold, orphan, until, monkeypatch):
    """Also while the queue is paused: what runs goes on."""
    queue.pause()
    assert queue.is_waiting()
    assert ensure_worker(workspace, kinds=KINDS_PATH)
    until(lambda: worker_state(workspace), "the worker to show itself")
    until(lambda: "adopted" in events(queue, orphan), "the job to be adopted")
    assert not queue.is_waiting()
    hold.unlink()
    until(lambda: queue.get(orphan.id).is_over, "the job to end")
    psutil.Process(worker_state(workspace).worker.pid).kill()


def test_who_asked_it_to_stop_before_the_worker_died_is_obeyed(queue, folder, hold, forgotten, start_worker, until):
    assert queue.cancel(forgotten.id).status == "stopping"
    queue.reconcile()
    assert queue.get(forgotten.id).status == "stopping", "the process still runs"
    process = watched_process(folder)
    start_worker()
    until(lambda: queue.get(forgotten.id).is_over, "the job to end")
    assert queue.get(forgotten.id).status == "cancelled"
    until(lambda: not process.is_alive, "its attendant to be gone, which says how it ended just before it ends", 20)


def test_a_stop_that_was_over_before_the_next_worker_came_is_no_failure(
    queue, folder, hold, forgotten, start_worker, until
):
    queue.cancel(forgotten.id)
    handle = load_handle(folder)
    open_runner("local").cancel(handle, 0)
    until(lambda: handle.attempt.exit_code() is not None, "the process to end")
    start_worker()
    until(lambda: queue.get(forgotten.id).is_over, "the job to end")
    assert queue.get(forgotten.id).status == "cancelled"


def test_without_its_attendant_it_is_lost_and_lets_go_of_the_device(queue, folder, hold, forgotten, until):
    """The attendant takes the process that it watches with it, so that nothing computes that nobody knows of."""
    attendant = psutil.Process(watched_process(folder).pid)
    until(attendant.children, "the attendant to start it")
    [child] = attendant.children()
    attendant.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "its child to go with it")
    [lost] = queue.reconcile()
    assert (lost.id, lost.status) == (forgotten.id, "lost") and "ended before the job did" in lost.error
    assert num_leases(queue) == 0 and not queue.is_waiting()


def test_after_a_reboot_a_job_is_lost_though_its_pids_are_in_use(queue, folder, hold, forgotten, until):
    """The pids are those of processes that live: only the boot is another one."""
    process = replace(watched_process(folder), boot_id="another boot")
    assert not process.is_alive and psutil.pid_exists(process.pid)
    progress = replace(forgotten.progress, handle=replace(forgotten.progress.handle, process=process))
    me = replace(ProcessIdentity.current(), boot_id="another boot")
    with queue.store.database.writing() as connection:
        row = {"pid": me.pid, "started_s": me.started_s, "boot_id": me.boot_id}
        written = PROGRESS.dump_python(progress, mode="json")
        connection.execute(update(JOBS).where(JOBS.c.id == forgotten.id).values(**row, progress=written))
    [lost] = queue.reconcile()
    assert lost.status == "lost" and "the machine was restarted" in lost.error
    assert queue.claim(ProcessIdentity.current()) is None, "it does not begin again by itself"
    hold.unlink()


def test_a_pid_that_another_program_has_now_is_left_alone(queue, folder, hold, forgotten, until):
    """A process that started at another moment is not the one that was watched, and is not killed for it."""
    bystander = os.getpid()
    process = replace(watched_process(folder), pid=bystander)
    handle = replace(forgotten.progress.handle, process=process, id="no such attempt")
    with queue.store.database.writing() as connection:
        written = PROGRESS.dump_python(replace(forgotten.progress, handle=handle), mode="json")
        connection.execute(update(JOBS).where(JOBS.c.id == forgotten.id).values(progress=written))
    [lost] = queue.reconcile()
    assert lost.status == "lost" and psutil.pid_exists(bystander)
    hold.unlink()


def test_two_pages_that_find_an_orphan_adopt_it_once(queue, hold, forgotten):
    me = ProcessIdentity.current()
    assert [job.id for job in queue.adopt(me)] == [forgotten.id]
    assert queue.adopt(replace(me, pid=1)) == [], "its worker lives"
    hold.unlink()


def test_pages_that_do_not_know_its_kind_leave_it_alone(queue, hold, forgotten):
    for _ in range(3):
        reconcile_and_ensure_worker(JobQueue(queue.store))  # with the shipped kinds
    assert queue.get(forgotten.id).status == "running"
    hold.unlink()
