"""`Executor.map`: one function over many items, here or on a cluster.

Executors score clips and make rollouts. A `Task` names the factory of the function, which is called once in each
process, because its models take long to load. Results are yielded as they become ready. While none is ready, an
executor yields `Pending`, so that the caller can report progress or stop. Closing the iterator ends the work.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from engine.errors import JobError, JobLostError
from engine.execution.attempt import last_line
from engine.execution.batch_folder import BatchFolder, Pair
from engine.execution.process_runner import (
    POLL_S,
    Handle,
    ProcessRunner,
    ProcessStatus,
    find_running,
    monitored,
    open_runner,
)
from engine.execution.resources import Resources
from engine.files.locks import try_lock
from engine.package_data import IMPORT_ROOT
from rewards.import_object import import_object

Function = Callable[[Any], Any]
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
FAILED = "error"
"""A result with this key is not final: its item is tried again when the work is restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`opens` is "module:function", a factory that takes `config` and returns the function of one item."""

    opens: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> Function:
        return cast(Callable[[Mapping[str, Any]], Function], import_object(self.opens))(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Generic[ItemT, ResultT]):
    """An item with its result. `index` is the item's place among those of `map`."""

    index: int
    item: ItemT
    result: ResultT


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """No result is ready; `handle` identifies the process that computes them."""

    handle: Handle


class Executor(Protocol):
    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any] | Pending]:
        """Yield each item's result as it becomes ready. Raises the function's errors."""
        ...


class InProcessExecutor:
    """Runs the items one after another in this process."""

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any]]:
        function = task.open()
        for index, item in enumerate(items):
            yield Completed(index=index, item=item, result=function(item))


class SubprocessExecutor:
    """Runs the items in a separate process, here or on a cluster; items and results are passed by files.

    Items and results are JSON, and no two items are equal. After a crash of the caller, the next `map` attaches to the
    process if it still runs, or reads the results that it has finished.
    """

    def __init__(self, folder: Path, resources: Resources, environment: Mapping[str, str | None]) -> None:
        self._files, self._resources, self._environment = BatchFolder(folder), resources, environment

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any] | Pending]:
        """Yield results.

        Raises JobError for a failure or a second caller, JobLostError when the cluster is gone.
        """
        missing = {_key(item): index for index, item in enumerate(items)}
        with self._locked():
            running = find_running(self._files.folder)
            if running is not None:
                ended = yield from self._watch(*running, missing)
            else:
                yield from _taken(self._finished(), missing)
            if missing:
                ended = yield from self._watch(*self._begin(task, [items[n] for n in missing.values()]), missing)
            if missing:
                reason = last_line(self._files.folder)
                raise JobError(f"{len(missing)} of {len(items)} items were not completed ({ended.exit_code}): {reason}")
            self._files.remove()

    def _finished(self) -> list[Pair]:
        """Return results of an earlier process that were never read."""
        return [(item, result) for item, result in self._files.results()[0] if FAILED not in result]

    def _watch(
        self, runner: ProcessRunner, handle: Handle, missing: dict[str, int]
    ) -> Generator[Completed[Any, Any] | Pending, None, ProcessStatus]:
        """Yield the results of `missing` items until the process is over."""
        offset, now = 0, None
        with monitored(runner, handle):
            while now is None or not now.is_over:
                now = runner.poll(handle)  # before the results are read, or the last ones would be missed
                results, offset = self._files.results(offset)
                yield from _taken(results, missing)
                if not now.is_over:
                    yield Pending(handle=handle)
                    time.sleep(POLL_S)
        if now.state == "lost":
            raise JobLostError(now.sentence)
        return now

    def _begin(self, task: Task, items: Sequence[Any]) -> tuple[ProcessRunner, Handle]:
        """Start the process; one that requests actors from its cluster gets no devices itself."""
        runner = open_runner(self._resources.runner, self._resources.address)
        facts = {**asdict(task), "resources": self._resources.model_dump(), "spreads": runner.spreads}
        self._files.begin(facts, items)
        own = {"processes": 1, "gpus": 0.0, "cpus": 0.0} if runner.spreads else {"processes": 1}
        handle = runner.submit(
            [sys.executable, "-m", "engine.execution.batch_main", str(self._files.folder)],
            env=self._environment,
            cwd=IMPORT_ROOT,
            resources=self._resources.model_copy(update=own),
            run_dir=self._files.folder,
        )
        return runner, handle

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._files.folder.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self._files.lock)
        if lock is None:
            raise JobError(
                f"Another process waits for the results in {self._files.folder} already: wait for them, too."
            )
        try:
            yield
        finally:
            os.close(lock)


def _taken(results: Sequence[Pair], missing: dict[str, int]) -> Iterator[Completed[Any, Any]]:
    """Yield the results of missing items, and remove these from `missing`."""
    for item, result in results:
        index = missing.pop(_key(item), None)
        if index is not None:
            yield Completed(index=index, item=item, result=result)


def _key(item: Any) -> str:
    return json.dumps(item, sort_keys=True)
