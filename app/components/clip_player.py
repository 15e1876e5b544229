"""The pair player: one to four clips in step. Used wherever clips are watched; Label adds its votes through
`element.player` (see clip_player.js)."""

from typing import Any

from app.components.base import Component
from app.text import general


class ClipPlayer(Component):
    """`value` comes from `app.views.clips.player`; `name` ties it to the plot with the id `<name>-timeline`.

    One that `reveals` scrolls into sight when it gets something to show, and takes the keys from the button pressed.
    """

    def __init__(self, name: str, *, reveals: bool = False, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": reveals}
        super().__init__("clip_player", words=general.PLAYER_WORDS, elem_id=f"{name}-player", render=render, **more)
