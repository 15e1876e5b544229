"""The pair player: one to four clips in step. Used wherever clips are watched; Label adds its votes through
`element.player` (see clip_pair.js)."""

from typing import Any

from app import text
from app.components.files import Component


class ClipPair(Component):
    """`value` comes from `app.views.clips.player`; `name` ties it to the plot with the id `<name>-timeline`."""

    def __init__(self, name: str, value: dict[str, Any] | None = None, *, render: bool = True) -> None:
        super().__init__("clip_pair", value, words=text.PLAYER_WORDS, elem_id=f"{name}-player", name=name, render=render)
