"""Everything that waits and runs, in its order, and the runs with what can be done to each."""

from typing import Any

from typing_extensions import TypedDict

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once, request_key
from app.text import training
from app.views.training import runs
from engine.errors import ConfigError
from engine.jobs.handlers import run_actions, train_process
from engine.jobs.spec import PRIORITIES
from engine.jobs.worker_control import reconcile_and_ensure_worker


class Place(TypedDict):
    """A job and where it goes in the queue."""

    id: str
    to: int


class QueueOrder(TypedDict):
    id: str
    priority: str


class Extension(TypedDict):
    """A run and how many more updates it gets."""

    id: str
    steps: Any


class Search(TypedDict):
    """A run and the word to look for in its log."""

    id: str
    word: str


class RunQueue(Component):
    """`value` comes from `app.views.training.runs.board`. Events: clone_run {run}, use_adapter {run},
    watch_run."""

    def __init__(self, name: str, desk: AppContext, *, render: bool = True) -> None:
        super().__init__(
            "run_queue",
            {},
            words={**training.BOARD_WORDS, "priorities": training.PRIORITIES},
            elem_id=name,
            server_functions=[with_problem(function) for function in functions(desk)],
            render=render,
        )


def functions(desk: AppContext) -> list[Any]:
    """What the script may ask for; all but `log` answer with the board as it is then."""

    def news(_: Any = None) -> dict[str, Any]:
        return runs.board(desk)

    def move(where: Place) -> dict[str, Any]:
        desk.queue.move(where["id"], where["to"])
        return news()

    def prioritise(asked: QueueOrder) -> dict[str, Any]:
        if asked["priority"] not in PRIORITIES:
            raise ConfigError(f"A priority is one of {', '.join(PRIORITIES)}, but got {asked['priority'][:40]!r}.")
        desk.queue.prioritise(asked["id"], asked["priority"])
        return news()

    def cancel(job_id: str) -> dict[str, Any]:
        desk.queue.cancel(job_id)
        return news()

    def kill(job_id: str) -> dict[str, Any]:
        train_process.kill(desk.queue, job_id)
        return news()

    def pause(_: Any = None) -> dict[str, Any]:
        desk.queue.pause()
        return news()

    def go_on(_: Any = None) -> dict[str, Any]:
        desk.queue.resume()
        return news()

    def cancel_pending(_: Any = None) -> dict[str, Any]:
        cancelled = desk.queue.cancel_waiting()
        return runs.board(desk, training.cancelled(len(cancelled)))

    def cancel_others(_: Any = None) -> dict[str, Any]:
        cancelled = desk.queue.cancel_all_but_current()
        return runs.board(desk, training.cancelled(len(cancelled)))

    def resume(run_id: str) -> dict[str, Any]:
        run_actions.resume(desk.queue, run_id, request_key())
        reconcile_and_ensure_worker(desk.queue)
        return news()

    def extend(order: Extension) -> dict[str, Any]:
        steps = order["steps"]
        if not isinstance(steps, int):
            raise ConfigError(f"A run is extended by a whole number of updates, but got {steps}.")
        run_actions.extend(desk.queue, order["id"], steps, request_key())
        return news()

    def log(asked: Search) -> dict[str, Any]:
        return runs.log(desk, asked["id"], asked["word"])

    changing = (move, prioritise, cancel, kill, pause, go_on, cancel_pending, cancel_others, resume, extend)
    return [news, *(once(function) for function in changing), log]
