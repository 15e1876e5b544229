"""Executors inside a Ray cluster: `RayData` streams items through actors, `RayActors` keeps actors.

Only for a process of a Ray job, whose environment has the address of the cluster. Ray is imported inside functions.
"""

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.errors import JobError
from engine.execution.executors import Completed, Task
from engine.execution.ray_jobs import passed_environment
from engine.execution.resources import Resources

MAX_BLOCKS = 2000  # an item's result is ready with its block, so blocks are small


class RayData:
    """Runs the items on `resources.processes` actors; items and results are JSON."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any]]:
        connect()
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"index": index, "item": json.dumps(item)} for index, item in enumerate(items)]
        results = ray.data.from_items(rows, override_num_blocks=min(len(rows), MAX_BLOCKS)).map_batches(
            _Batches,
            fn_constructor_args=(task,),
            batch_size=1,
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            compute=ray.data.ActorPoolStrategy(size=min(self._resources.processes, len(rows))),
        )
        try:
            for row in results.iter_rows():
                index = int(row["index"])
                yield Completed(index=index, item=items[index], result=json.loads(row["result"]))
        except ray.exceptions.RayError as error:
            raise JobError(f"Ray stopped with an error: {first_cause(str(error))}") from error


class _Batches:
    """An actor that opens the task's function once, and applies it to each row of a batch."""

    def __init__(self, task: Task) -> None:
        self._function = task.open()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        results = [json.dumps(self._function(json.loads(item))) for item in batch["item"]]
        return {"index": batch["index"], "result": results}


class RayActors:
    """Keeps `resources.processes` actors from one `map` to the next, until `close` or another task.

    Items and results can be any object that pickle takes.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._task: Task | None = None
        self._actors: list[Any] = []

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any]]:
        """Give the items to the actors at once, and return an iterator over the results.

        It raises JobError when an actor is lost, and the function's errors.
        """
        connect()
        from ray.util import ActorPool

        pool = ActorPool(self._actors_for(task))
        return self._completed(
            pool.map_unordered(lambda actor, pair: actor.call.remote(*pair), list(enumerate(items))), items
        )

    def _completed(self, results: Iterator[tuple[int, Any]], items: Sequence[Any]) -> Iterator[Completed[Any, Any]]:
        import ray

        try:
            for index, result in results:
                yield Completed(index=index, item=items[index], result=result)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error  # as if raised in this process
        except ray.exceptions.RayActorError as error:
            raise JobError(f"An actor of the Ray cluster is gone: {str(error).strip().splitlines()[0]}") from error

    def close(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        self._actors, self._task = [], None

    def _actors_for(self, task: Task) -> list[Any]:
        import ray

        if task != self._task:
            self.close()
            actor = ray.remote(num_cpus=self._resources.cpus, num_gpus=self._resources.gpus)(_Actor)
            self._actors, self._task = [actor.remote(task) for _ in range(self._resources.processes)], task
        return self._actors


class _Actor:
    def __init__(self, task: Task) -> None:
        self._function = task.open()

    def call(self, index: int, item: Any) -> tuple[int, Any]:
        return index, self._function(item)


def first_cause(text: str) -> str:
    """Return the line of the first error in a text of chained tracebacks."""
    return text.split("\n\nThe above exception", maxsplit=1)[0].strip().splitlines()[-1]


def connect() -> None:
    """Join the cluster; keep our signal handlers, since Ray's would end a training without its checkpoint."""
    import ray

    if ray.is_initialized():
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ray.init(runtime_env={"env_vars": passed_environment(os.environ)}, log_to_driver=False, logging_level="warning")
    for number, handler in handlers.items():
        signal.signal(number, handler)
