"""A table of words whose rows may have something to do."""

from typing import Any

from app.components.base import Component
from app.text import system as text


class ActionTable(Component):
    """`value` comes from `app.views.system.table`. Event: act {key}; what removes something asks first."""

    def __init__(self, name: str, value: dict[str, Any] | None = None, *, render: bool = True) -> None:
        super().__init__("action_table", value, words=text.TABLE_WORDS, elem_id=name, render=render)
