"""The list of runs with their actions."""

from typing import Any

from typing_extensions import TypedDict

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once, request_key
from app.text import training
from app.views.training import runs
from engine.errors import ConfigError
from engine.jobs.runs import run_actions, train_process
from engine.jobs.worker_control import reconcile_and_ensure_worker


class Extension(TypedDict):
    """A run and its number of additional updates."""

    id: str
    steps: Any


class Search(TypedDict):
    """A run and a word to search for in its log."""

    id: str
    word: str


class RunList(Component):
    """Runs. `value` comes from `app.views.training.runs.run_list`.

    Events: clone_run {run}, use_adapter {run}, watch_run.
    """

    custom_events = ("clone_run", "use_adapter", "watch_run")

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        super().__init__(
            "run_list",
            {},
            words=training.BOARD_WORDS,
            elem_id=name,
            server_functions=[with_problem(function) for function in functions(context)],
            render=render,
        )


def functions(context: AppContext) -> list[Any]:
    """Return the server functions of the script; all but `log` return the new value of the component."""

    def news(_: Any = None) -> dict[str, Any]:
        return runs.run_list(context)

    def cancel(job_id: str) -> dict[str, Any]:
        context.queue.cancel(job_id)
        return news()

    def kill(job_id: str) -> dict[str, Any]:
        train_process.kill(context.queue, job_id)
        return news()

    def resume(run_id: str) -> dict[str, Any]:
        run_actions.resume(context.queue, run_id, request_key())
        reconcile_and_ensure_worker(context.queue)
        return news()

    def extend(order: Extension) -> dict[str, Any]:
        steps = order["steps"]
        if not isinstance(steps, int):
            raise ConfigError(f"A run is extended by a whole number of updates, but got {steps}.")
        run_actions.extend(context.queue, order["id"], steps, request_key())
        return news()

    def log(search: Search) -> dict[str, Any]:
        return runs.log(context, search["id"], search["word"])

    changing = (cancel, kill, resume, extend)
    return [news, *(once(function) for function in changing), log]
