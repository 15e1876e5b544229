"""The line at the top of the page: the name, the workspace, and light or dark."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.text import general, notices
from app.views import notifications


class Header(Component):
    """Events: arrive {id}, when the page was opened by a clip's permalink; arrive_at {tab}, by the address of a tab.

    Its bell asks for news when it is on.
    """

    def __init__(self, desk: AppContext, *, render: bool = True) -> None:
        def news(seen: dict[str, Any]) -> dict[str, Any]:
            return notifications.news(desk, seen or {})

        value = {"workspace": str(desk.workspace.root), "notice": general.SHARED_WORKSPACE if desk.shared else ""}
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
            before=["notifications"],
            render=render,
        )
