"""The jobs of one kind or several while they wait and run. It asks for news itself, only while somebody can see it."""

from collections.abc import Collection
from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import jobs
from app.views.jobs import strip
from engine.jobs.handlers import train_process


class JobList(Component):
    """`value` comes from `app.views.jobs.strip`. Events: job_ended {ids}, the jobs that came to a good end, and
    job_failed {ids}, those that failed, were cancelled or lost.

    Gradio calls a server function with one argument, an empty list when the script gave none.
    """

    def __init__(self, name: str, desk: AppContext, kind: str | Collection[str], *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return strip(desk, kind)

        def cancel(job_id: str) -> dict[str, Any]:
            desk.queue.cancel(job_id)
            return strip(desk, kind)

        def kill(job_id: str) -> dict[str, Any]:
            train_process.kill(desk.queue, job_id)
            return strip(desk, kind)

        def again(job_id: str) -> dict[str, Any]:
            desk.file_again(job_id)
            return strip(desk, kind)

        functions = [
            with_problem(news),
            with_problem(once(cancel)),
            with_problem(once(kill)),
            with_problem(once(again)),
        ]
        super().__init__(
            "job_list",
            {"jobs": [], "at": 0},
            words=jobs.STRIP_WORDS,
            elem_id=name,
            server_functions=functions,
            before=["job_announcer"],
            render=render,
        )
