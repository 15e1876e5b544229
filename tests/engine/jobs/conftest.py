"""A queue with the small kinds of `job_kinds.py`, and workers that are gone when the test is over."""

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.jobs.kinds import Kinds
from engine.jobs.queue import JobQueue
from engine.jobs.worker_control import ensure_worker
from engine.jobs.worker_state import worker_state
from engine.storage.library import Library
from engine.workspace import Workspace

HERE = Path(__file__).parent
KINDS_PATH = "job_kinds:KINDS"


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Kinds:
    """The small kinds, which processes that the test starts can import too."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    return importlib.import_module("job_kinds").KINDS


@pytest.fixture
def queue(store: Library, kinds: Kinds) -> JobQueue:
    return JobQueue(store, kinds)


@pytest.fixture
def start_worker(workspace: Workspace, kinds: Kinds, until: Callable) -> Iterator[Callable[[], psutil.Process]]:
    """Starts the workspace's worker with the small kinds and gives its process; none outlives the test."""
    started: list[psutil.Process] = []

    def start() -> psutil.Process:
        assert ensure_worker(workspace, kinds=KINDS_PATH)
        until(lambda: worker_state(workspace), "the worker to show itself")
        started.append(psutil.Process(worker_state(workspace).worker.pid))
        return started[-1]

    yield start
    for process in started:
        if process.is_running():
            process.kill()
            process.wait(10)
