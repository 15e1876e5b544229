"""Workers in separate processes: started once, and no job is lost or run twice if they are killed."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import psutil
import pytest

from engine.errors import JobError
from engine.files.locks import try_lock
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.worker import IdleTimeouts, Worker, main
from engine.jobs.worker_control import ensure_worker, reconcile_and_ensure_worker, release_worker, stop_worker
from engine.jobs.worker_state import WorkerState, worker_state, write_state
from engine.process_identity import ProcessIdentity
from engine.storage.library import Library
from engine.storage.temp_folders import machine

KINDS_PATH = "job_kinds:KINDS"


@pytest.fixture
def hold(tmp_path):
    """While this file is there, the held job does not go on."""
    path = tmp_path / "hold"
    path.touch()
    return path


@pytest.fixture
def diary(tmp_path):
    """File to which a job writes each of its steps."""
    return tmp_path / "diary"


def steps(number: int = 3, **paths) -> JobSpec:
    return JobSpec(kind="steps", config={"steps": number, **{name: str(path) for name, path in paths.items()}})


def test_a_worker_takes_every_job_and_says_where_it_is(queue, workspace, start_worker, until, hold):
    held, behind = queue.submit(steps(hold=hold)), queue.submit(steps())
    worker = start_worker()
    assert os.getsid(worker.pid) == os.getpgid(worker.pid) == worker.pid, "detached from its starter"
    until(lambda: queue.get(held.id).progress, "the job's first step")
    running = queue.get(held.id)
    assert (running.status, running.pid, running.progress.of) == ("running", worker.pid, 3)
    assert queue.get(behind.id).position == 1
    assert worker_state(workspace).job_id == held.id
    assert not ensure_worker(workspace, kinds=KINDS_PATH), "one worker is enough"
    hold.unlink()
    until(lambda: queue.get(behind.id).is_over, "the queue to be empty")
    assert [job.status for job in queue.list()] == ["done", "done"]
    assert queue.get(held.id).result == {"steps": 3} and queue.get(held.id).exit_code == 0
    assert f"Job {held.id} is done" in workspace.job_log(held.id).read_text()
    assert behind.id not in workspace.job_log(held.id).read_text()


def test_killing_the_page_and_its_whole_group_leaves_the_worker_at_work(queue, workspace, until, hold):
    """The page, a process that submits a job and starts the worker, is killed with its process group."""
    job = queue.submit(steps(hold=hold))
    program = (
        "from engine.workspace import Workspace; from engine.jobs.worker_control import ensure_worker\n"
        f"assert ensure_worker(Workspace.from_env(), kinds='{KINDS_PATH}'); print('started', flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    page = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, **pipes)
    assert page.stdout.readline() == b"started\n"
    until(lambda: queue.get(job.id).progress, "the job's first step")
    os.killpg(page.pid, signal.SIGKILL)
    page.communicate()
    hold.unlink()
    until(lambda: queue.get(job.id).is_over, "the job to end")
    assert queue.get(job.id).status == "done"
    assert stop_worker(workspace)


def test_starters_at_once_start_one_worker(queue, workspace, until):
    program = (
        "import sys; from engine.workspace import Workspace; from engine.jobs.worker_control import ensure_worker\n"
        f"sys.stdin.read(1); print(ensure_worker(Workspace.from_env(), kinds='{KINDS_PATH}'))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pages = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(3)]
    for page in pages:
        page.stdin.write("x")
        page.stdin.flush()
    assert sorted(page.communicate(timeout=90)[0].strip() for page in pages) == ["False", "False", "True"]
    until(lambda: worker_state(workspace), "the worker to show itself")
    assert stop_worker(workspace)


def test_a_killed_worker_loses_its_job_and_the_next_goes_on_with_the_queue(
    queue, workspace, start_worker, until, hold, diary
):
    doomed, behind = queue.submit(steps(hold=hold, diary=diary)), queue.submit(steps(diary=diary))
    worker = start_worker()
    until(lambda: queue.get(doomed.id).progress, "the job's first step")
    half_written = workspace.tmp / f"{'0' * 16}.{'-'.join(machine())}.{worker.pid}.abcd"
    half_written.mkdir()
    worker.kill()
    worker.wait(10)
    start_worker()
    until(lambda: queue.get(behind.id).is_over, "the next job to end")
    lost = queue.get(doomed.id)
    assert lost.status == "lost" and f"(pid {worker.pid}) ended before the job did" in lost.error
    assert queue.get(behind.id).status == "done"
    assert diary.read_text().split() == ["0", "0", "1", "2"], "no step was taken twice"
    assert not half_written.exists()


def test_keep_going_marks_the_lost_and_starts_a_worker_only_for_work(queue, workspace, start_worker, until, hold):
    doomed = queue.submit(steps(hold=hold))
    worker = start_worker()
    until(lambda: queue.get(doomed.id).progress, "the job's first step")
    worker.kill()
    worker.wait(10)
    reconcile_and_ensure_worker(queue)
    assert queue.get(doomed.id).status == "lost"
    assert worker_state(workspace) is None
    lock = try_lock(workspace.worker_lock)
    assert lock is not None, "no job waits, so no worker was started"
    os.close(lock)


def test_a_cancelled_job_takes_no_further_step(queue, start_worker, until, hold, diary):
    job, behind = queue.submit(steps(hold=hold, diary=diary)), queue.submit(steps())
    start_worker()
    until(lambda: queue.get(job.id).progress, "the job's first step")
    queue.cancel(job.id)
    until(lambda: queue.get(behind.id).is_over, "the next job to end")
    assert queue.get(job.id).status == "cancelled" and diary.read_text().split() == ["0"]
    assert queue.get(behind.id).status == "done", "the worker continues"


def test_a_worker_told_to_end_puts_its_job_back(queue, workspace, start_worker, until, hold):
    job = queue.submit(steps(hold=hold))
    worker = start_worker()
    until(lambda: queue.get(job.id).progress, "the job's first step")
    assert stop_worker(workspace)
    assert not worker.is_running() and worker_state(workspace) is None
    assert queue.get(job.id).status == "queued" and queue.get(job.id).position == 1
    hold.unlink()
    start_worker()
    until(lambda: queue.get(job.id).is_over, "the job to end")
    assert queue.get(job.id).status == "done"


def test_errors_are_one_sentence_and_the_worker_goes_on(queue, workspace, start_worker, until):
    foreseen = queue.submit(JobSpec(kind="fail", config={"expected": True}))
    unforeseen = queue.submit(JobSpec(kind="fail", config={"expected": False}))
    last = queue.submit(steps())
    start_worker()
    until(lambda: queue.get(last.id).is_over, "the last job to end")
    foreseen, unforeseen = queue.get(foreseen.id), queue.get(unforeseen.id)
    assert (foreseen.status, foreseen.exit_code) == ("failed", 1)
    assert foreseen.error == "The spoon is bent: straighten it."
    assert unforeseen.error.startswith("Unexpected ZeroDivisionError: integer division or modulo by zero.")
    assert f"dailies jobs logs {unforeseen.id}" in unforeseen.error and "\n" not in unforeseen.error
    assert "Traceback (most recent call last)" in workspace.job_log(unforeseen.id).read_text()
    assert "Traceback" not in workspace.job_log(foreseen.id).read_text()


def test_no_worker_no_release_and_nothing_to_stop(workspace):
    assert not release_worker(workspace) and not stop_worker(workspace)
    assert not workspace.release_flag.exists()


def test_a_worker_pid_used_by_another_program_is_left_alone(workspace):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(bystander.pid)
    write_state(workspace, WorkerState(worker=replace(identity, started_s=identity.started_s - 60), state="busy"))
    assert worker_state(workspace) is None and not stop_worker(workspace)
    assert bystander.poll() is None and psutil.pid_exists(bystander.pid)
    bystander.communicate()


def test_a_torn_state_file_counts_as_no_worker(workspace):
    workspace.worker_state.write_text('{"worker": {"host": "he')
    assert worker_state(workspace) is None


def test_a_worker_that_does_not_end_in_time_is_said_to(queue, workspace, start_worker):
    worker = start_worker()
    worker.suspend()
    with pytest.raises(JobError, match="did not end within 0.1 s"):
        stop_worker(workspace, timeout_s=0.1)


# In this process: what needs no second one.


def served(queue: JobQueue, timeouts: IdleTimeouts) -> Worker:
    """A worker that served until it had waited long enough."""
    worker = Worker(queue, timeouts)
    worker.run(try_lock(queue.store.workspace.worker_lock))
    return worker


def test_a_worker_ends_when_nothing_comes_and_lets_go_of_its_lock(queue, workspace):
    job = queue.submit(steps())
    served(queue, IdleTimeouts(exit_s=0))
    assert queue.get(job.id).status == "done"
    assert worker_state(workspace) is None and workspace.worker_state.exists()
    lock = try_lock(workspace.worker_lock)
    assert lock is not None
    os.close(lock)


def test_a_worker_that_runs_for_long_removes_old_uploads(queue, workspace, monkeypatch):
    upload = workspace.uploads / "kept-1"

    class Later(JobQueue):
        def claim(self, *args):
            upload.mkdir(parents=True, exist_ok=True)
            os.utime(upload, (0, 0))
            return super().claim(*args)

    monkeypatch.setattr("engine.jobs.worker.TIDY_S", 0)
    served(Later(queue.store, queue.kinds), IdleTimeouts(exit_s=0))
    assert not upload.exists()


def test_a_job_filed_while_the_worker_ends_is_not_left_lying(queue):
    """An ending worker checks the queue again: a starter may have seen its lock and started none."""
    jobs = []

    class LastMoment(JobQueue):
        def is_waiting(self) -> bool:
            if not jobs and try_lock_fails():
                return super().is_waiting()
            if not jobs:
                jobs.append(self.submit(steps()))
            return super().is_waiting()

    def try_lock_fails() -> bool:
        lock = try_lock(queue.store.workspace.worker_lock)
        if lock is not None:
            os.close(lock)
        return lock is None

    served(LastMoment(queue.store, queue.kinds), IdleTimeouts(exit_s=0))
    assert queue.get(jobs[0].id).status == "done"


def test_a_result_that_cannot_be_stored_fails_its_job_only(queue):
    odd, unmeasured, last = (queue.submit(JobSpec(kind=kind, config={})) for kind in ("unusual", "measure", "steps"))
    served(queue, IdleTimeouts(exit_s=0))
    odd, unmeasured = queue.get(odd.id), queue.get(unmeasured.id)
    assert odd.status == "failed" and "set is not JSON serializable" in odd.error
    assert (unmeasured.status, unmeasured.result) == ("done", {"mean": None, "of": [0, None]})
    assert queue.get(last.id).status == "done", "the worker continues"


def test_the_preview_of_a_job_whose_worker_was_killed_is_removed(workspace, kinds):
    queue, left = JobQueue(Library(workspace), kinds), workspace.job_preview("0123abcd")
    left.write_bytes(b"a picture")
    Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(workspace.worker_lock))
    assert not left.exists()
    queue.store.close()


def test_the_end_of_a_job_is_written_when_the_database_lets_it(workspace, kinds, until, caplog):
    """Another process holds the write lock while the job ends; the worker retries until it is free."""
    import sqlite3

    store = Library(workspace, busy_timeout_s=0.05)
    queue = JobQueue(store, kinds)
    job = queue.submit(steps(1))
    worker = Worker(queue, IdleTimeouts(exit_s=0))
    claimed = queue.claim(ProcessIdentity.current())
    holder = sqlite3.connect(workspace.database, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=worker._run, args=(claimed,))
    thread.start()
    until(lambda: f"end of job {job.id} cannot be recorded now" in caplog.text, "the job to end")
    assert queue.get(job.id).status == "running"
    holder.close()
    thread.join(60)
    assert queue.get(job.id).status == "done"
    store.close()


def test_a_second_worker_by_hand_sees_the_first_and_leaves(workspace, caplog):
    lock = try_lock(workspace.worker_lock)
    with caplog.at_level("INFO"):
        assert main(["--workspace", str(workspace.root)]) == 0
    os.close(lock)
    assert f"Another worker serves {workspace.root}" in caplog.text


def test_a_worker_that_cannot_open_its_workspace_says_so_in_one_line(workspace, caplog):
    workspace.database.write_bytes(b"no database" * 1000)
    assert main(["--workspace", str(workspace.root)]) == 2
    assert "not an SQLite database" in caplog.text and "Traceback" not in caplog.text
