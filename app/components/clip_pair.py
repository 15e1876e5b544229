"""The pair player: one to four clips in step. Used wherever clips are watched; Label adds its votes through
`element.player` (see clip_pair.js)."""

from typing import Any

from app.components.files import Component
from app.text import general


class ClipPair(Component):
    """`value` comes from `app.views.clips.player`; `name` ties it to the plot with the id `<name>-timeline`.

    One that `reveals` scrolls into sight when it gets something to show, and takes the keys from the button pressed.
    """

    def __init__(self, name: str, *, reveals: bool = False, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": reveals}
        super().__init__("clip_pair", words=general.PLAYER_WORDS, elem_id=f"{name}-player", render=render, **more)
