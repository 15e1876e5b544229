"""A table of texts whose rows may have an action."""

from typing import Any

from app.components.base import Component
from app.text import system as text


class ActionTable(Component):
    """Table with actions; destructive ones require confirmation.

    `value` comes from `app.views.system.table`. Event: act {key}.
    """

    custom_events = ("act",)

    def __init__(self, name: str, value: dict[str, Any] | None = None, *, render: bool = True) -> None:
        super().__init__("action_table", value, words=text.TABLE_WORDS, elem_id=name, render=render)
