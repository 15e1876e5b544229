"""The environment that a job is submitted under: recorded, absolute, and that of the worker that runs it."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.errors import ConfigError, JobError
from engine.hardware.environment import process_changes
from engine.hardware.job_environment import RECORDED, changes_to, difference
from engine.jobs.device_leases import Capacity
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.worker_control import ensure_worker
from engine.jobs.worker_state import worker_state
from engine.process_identity import ProcessIdentity
from engine.storage.library import Library, database_url

KINDS_PATH = "job_kinds:KINDS"
ME = ProcessIdentity.current()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RECORDED:
        monkeypatch.delenv(name, raising=False)


def steps() -> JobSpec:
    return JobSpec(kind="steps", config={})


def test_relative_paths_count_from_where_the_job_is_filed(queue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAILIES_PRESETS", "my presets")
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    job = queue.submit(steps())
    assert job.environment == {"DAILIES_PRESETS": str(tmp_path / "my presets"), "DAILIES_DEVICE": "cpu"}
    assert queue.get(job.id).environment == job.environment


def test_processes_get_whole_paths(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAILIES_PRESETS", "presets")
    monkeypatch.setenv("DAILIES_DATABASE_URL", "sqlite:///a%20b.db")
    changes = process_changes(workspace)
    assert changes["DAILIES_PRESETS"] == str(tmp_path / "presets")
    monkeypatch.setenv("DAILIES_DATABASE_URL", changes["DAILIES_DATABASE_URL"])
    monkeypatch.chdir("/")
    assert database_url(workspace).database == str(tmp_path / "a b.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_database_in_memory_is_refused(workspace, monkeypatch, url):
    monkeypatch.setenv("DAILIES_DATABASE_URL", url)
    with pytest.raises(ConfigError, match="must name a file"):
        Library(workspace)


def test_a_worker_of_another_environment_leaves_the_job_alone(queue, monkeypatch):
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    cpu = queue.submit(steps())
    monkeypatch.delenv("DAILIES_DEVICE")
    plain = queue.submit(steps())
    assert queue.awaited_environment() == {"DAILIES_DEVICE": "cpu"}
    assert queue.claim(ME, Capacity(idle=True)) is None, "an idle worker gives way to one that may run the first job"
    assert queue.claim(ME, Capacity()).id == plain.id, "a busy one goes on with its own"
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    assert queue.awaited_environment() is None
    assert queue.claim(ME, Capacity(idle=True)).id == cpu.id


def test_the_difference_is_named():
    said = difference({"DAILIES_DEVICE": "cpu"}, {"DAILIES_PRESETS": "/mine"})
    assert said == "DAILIES_PRESETS= (the worker: /mine), DAILIES_DEVICE=cpu (the worker: not set)"
    assert changes_to({"DAILIES_DEVICE": "cpu"})["DAILIES_PRESETS"] is None


def test_a_job_runs_under_the_environment_that_it_was_recorded_environment(
    queue: JobQueue,
    workspace,
    start_worker: Callable[[], psutil.Process],
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A warm worker of another environment ends, and one with the job's takes the job."""
    first = start_worker()
    assert worker_state(workspace).environment == {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAILIES_PRESETS", "mine")
    job = queue.submit(JobSpec(kind="environment", config={"name": "DAILIES_PRESETS"}))
    try:
        until(lambda: queue.get(job.id).is_over, "the job to end")
        done = queue.get(job.id)
        assert done.result == {"value": str(tmp_path / "mine")}
        assert done.pid != first.pid
        state = worker_state(workspace)
        assert state is not None and state.environment == {"DAILIES_PRESETS": str(tmp_path / "mine")}
        assert not ensure_worker(workspace, kinds=KINDS_PATH)
    finally:
        state = worker_state(workspace)
        if state is not None:
            psutil.Process(state.worker.pid).kill()


def test_a_job_beside_the_workers_database_is_refused(
    queue: JobQueue, workspace, start_worker: Callable[[], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker()
    monkeypatch.setenv("DAILIES_DATABASE_URL", f"sqlite:///{workspace.root}/other.db")
    other = Library(workspace)
    beside = JobQueue(other, queue.kinds)
    with pytest.raises(JobError, match=r"would wait in .*other\.db, but the worker .* serves .*dailies worker stop"):
        beside.submit(steps())
    assert beside.list() == []
    other.close()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_same_file_by_a_relative_url_is_the_same_database(
    queue: JobQueue, workspace, start_worker: Callable[[], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker()
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("DAILIES_DATABASE_URL", "sqlite:///dailies.db")
    store = Library(workspace)
    JobQueue(store, queue.kinds).submit(steps())
    assert len(queue.list()) == 1
    store.close()
    assert os.environ["DAILIES_DATABASE_URL"] == "sqlite:///dailies.db"
