"""A table of texts whose rows may have an action."""

from app.components.base import Component
from app.text import system as text


class ActionTable(Component):
    """Table with actions; destructive ones require confirmation.

    `value` comes from `app.views.system.table`. Event: act {key}.
    """

    custom_events = ("act",)

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("action_table", words=text.TABLE_WORDS, elem_id=name, render=render)
