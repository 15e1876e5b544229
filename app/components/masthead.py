"""The line at the top of the page: the name, the workspace, and light or dark."""

from typing import Any

from app import text, text_notices
from app.components.files import Component
from app.desk import Desk
from app.guard import told
from app.views import notices


class Masthead(Component):
    """Events: arrive {id}, when the page was opened by a clip's permalink; arrive_at {tab}, by the address of a tab.

    Its bell asks for news when it is on.
    """

    def __init__(self, desk: Desk, *, render: bool = True) -> None:
        def news(seen: dict[str, Any]) -> dict[str, Any]:
            return notices.news(desk, seen or {})

        value = {"workspace": str(desk.workspace.root), "notice": text.SHARED_WORKSPACE if desk.shared else ""}
        words: dict[str, Any] = {
            "title": text.TITLE,
            "tagline": text.TAGLINE,
            "theme": text.LIGHT_OR_DARK,
            "workspace": text.WORKSPACE,
            "bell": text_notices.BELL,
        }
        super().__init__(
            "masthead",
            value,
            words=words,
            elem_id="masthead",
            server_functions=[told(news)],
            before=["bell"],
            render=render,
        )
