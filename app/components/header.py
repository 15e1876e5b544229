"""Header of the page: name, workspace, the queue, notifications, help, and the theme switch."""

from typing import Any

from app.components.base import Component
from app.components.job_queue import queue_functions
from app.context import AppContext
from app.events import with_problem
from app.text import general, jobs, notices, training
from app.text.help import HELP_WORDS
from app.views import notifications
from app.views.training.first_steps import first_steps, glossary


class Header(Component):
    """Header with the queue; it polls for notifications if they are enabled.

    Events: arrive {id}, if the page was opened by a clip's permalink; arrive_at {tab}, by a tab's address;
    arrive_sweep {id}, by a sweep's; clone_run {run}, to open Train with the settings of a run.
    """

    custom_events = ("arrive", "arrive_at", "arrive_sweep", "clone_run")

    def __init__(self, context: AppContext, *, render: bool = True) -> None:
        def news(seen: dict[str, Any]) -> dict[str, Any]:
            return notifications.news(context, seen or {})

        def steps(_: Any = None) -> dict[str, Any]:
            return first_steps(context)

        value = {"workspace": str(context.workspace.root), "notice": general.SHARED_WORKSPACE if context.shared else ""}
        words: dict[str, Any] = {
            "title": general.TITLE,
            "tagline": general.TAGLINE,
            "theme": general.LIGHT_OR_DARK,
            "workspace": general.WORKSPACE,
            "bell": notices.BELL,
            "help": {**HELP_WORDS, "terms": glossary()},
            "queue": {**jobs.QUEUE_WORDS, "priorities": training.PRIORITIES},
        }
        super().__init__(
            "job_queue",
            value,
            words=words,
            elem_id="masthead",
            server_functions=[with_problem(function) for function in (news, steps, *queue_functions(context))],
            around="header",
            render=render,
        )
