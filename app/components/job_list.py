"""List of queued and running jobs of one or several kinds; it polls the server while it is visible."""

from collections.abc import Collection
from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import jobs
from app.views.jobs import job_list
from engine.jobs.handlers import train_process


class JobList(Component):
    """List of jobs. `value` comes from `app.views.jobs.job_list`.

    Events: job_ended {ids}, for finished jobs, and job_failed {ids}, for jobs that failed, were cancelled or lost.

    Gradio calls a server function with one argument, an empty list if the script passed none.
    """

    custom_events = ("job_ended", "job_failed")

    def __init__(self, name: str, context: AppContext, kind: str | Collection[str], *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return job_list(context, kind)

        def cancel(job_id: str) -> dict[str, Any]:
            context.queue.cancel(job_id)
            return job_list(context, kind)

        def kill(job_id: str) -> dict[str, Any]:
            train_process.kill(context.queue, job_id)
            return job_list(context, kind)

        def again(job_id: str) -> dict[str, Any]:
            context.file_again(job_id)
            return job_list(context, kind)

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
            render=render,
        )
