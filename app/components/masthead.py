"""The line at the top of the page: the name, the workspace, and light or dark."""

from app import text
from app.components.files import Component
from app.desk import Desk


class Masthead(Component):
    """Event: arrive {id}, when the page was opened by a clip's permalink."""

    def __init__(self, desk: Desk, *, render: bool = True) -> None:
        value = {"workspace": str(desk.workspace.root), "notice": text.SHARED_WORKSPACE if desk.shared else ""}
        words = {"title": text.TITLE, "tagline": text.TAGLINE, "theme": text.LIGHT_OR_DARK, "workspace": text.WORKSPACE}
        super().__init__("masthead", value, words=words, elem_id="masthead", render=render)
