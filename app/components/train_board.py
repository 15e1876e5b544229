"""Everything that waits and runs, in its order, and the runs with what can be done to each."""

from typing import Any

from typing_extensions import TypedDict

from app import text_train
from app.components.files import Component
from app.desk import Desk
from app.guard import told
from app.once import once, request_key
from app.views import run_board
from engine.errors import ConfigError
from engine.jobs import runs, trainee
from engine.jobs.local import keep_going
from engine.jobs.spec import PRIORITIES


class Place(TypedDict):
    """A job and where it goes in the queue."""

    id: str
    to: int


class Order(TypedDict):
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


class TrainBoard(Component):
    """`value` comes from `app.views.run_board.board`. Events: clone_run {run}, use_adapter {run},
    watch_run."""

    def __init__(self, name: str, desk: Desk, *, render: bool = True) -> None:
        super().__init__(
            "train_board",
            {},
            words={**text_train.BOARD_WORDS, "priorities": text_train.PRIORITIES},
            elem_id=name,
            server_functions=[told(function) for function in functions(desk)],
            render=render,
        )


def functions(desk: Desk) -> list[Any]:
    """What the script may ask for; all but `log` answer with the board as it is then."""

    def news(_: Any = None) -> dict[str, Any]:
        return run_board.board(desk)

    def move(where: Place) -> dict[str, Any]:
        desk.queue.move(where["id"], where["to"])
        return news()

    def prioritise(asked: Order) -> dict[str, Any]:
        if asked["priority"] not in PRIORITIES:
            raise ConfigError(f"A priority is one of {', '.join(PRIORITIES)}, but got {asked['priority'][:40]!r}.")
        desk.queue.prioritise(asked["id"], asked["priority"])
        return news()

    def cancel(job_id: str) -> dict[str, Any]:
        desk.queue.cancel(job_id)
        return news()

    def kill(job_id: str) -> dict[str, Any]:
        trainee.kill(desk.queue, job_id)
        return news()

    def pause(_: Any = None) -> dict[str, Any]:
        desk.queue.pause()
        return news()

    def go_on(_: Any = None) -> dict[str, Any]:
        desk.queue.resume()
        return news()

    def cancel_pending(_: Any = None) -> dict[str, Any]:
        cancelled = desk.queue.cancel_waiting()
        return run_board.board(desk, text_train.cancelled(len(cancelled)))

    def cancel_others(_: Any = None) -> dict[str, Any]:
        cancelled = desk.queue.cancel_all_but_current()
        return run_board.board(desk, text_train.cancelled(len(cancelled)))

    def resume(run_id: str) -> dict[str, Any]:
        runs.resume(desk.queue, run_id, request_key())
        keep_going(desk.queue)
        return news()

    def extend(order: Extension) -> dict[str, Any]:
        steps = order["steps"]
        if not isinstance(steps, int):
            raise ConfigError(f"A run is extended by a whole number of updates, but got {steps}.")
        runs.extend(desk.queue, order["id"], steps, request_key())
        return news()

    def log(asked: Search) -> dict[str, Any]:
        return run_board.log(desk, asked["id"], asked["word"])

    changing = (move, prioritise, cancel, kill, pause, go_on, cancel_pending, cancel_others, resume, extend)
    return [news, *(once(function) for function in changing), log]
