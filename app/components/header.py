"""Header of the page: name, workspace, notifications, and the theme switch."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.text import general, notices
from app.views import notifications


class Header(Component):
    """Header; it polls for notifications if they are enabled.

    Events: arrive {id}, if the page was opened by a clip's permalink; arrive_at {tab}, by a tab's address.
    """

    custom_events = ("arrive", "arrive_at")

    def __init__(self, context: AppContext, *, render: bool = True) -> None:
        def news(seen: dict[str, Any]) -> dict[str, Any]:
            return notifications.news(context, seen or {})

        value = {"workspace": str(context.workspace.root), "notice": general.SHARED_WORKSPACE if context.shared else ""}
        words: dict[str, Any] = {
            "title": general.TITLE,
            "tagline": general.TAGLINE,
            "theme": general.LIGHT_OR_DARK,
            "workspace": general.WORKSPACE,
            "bell": notices.BELL,
        }
        super().__init__(
            "header",
            value,
            words=words,
            elem_id="masthead",
            server_functions=[with_problem(news)],
            render=render,
        )
