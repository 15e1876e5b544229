"""A grid of clips: posters that play on hover, choosing, paging, undo. Its events carry what they are about."""

from typing import Any, Literal

from app.components.base import Component
from app.text import general


class ClipGrid(Component):
    """`mode` "library" has paging and deleting, "takes" is the small strip under a player.

    Events: open_clip {id}, star_clip {id, starred}, compare {ids}, label_these {ids}, remove_clips {ids},
    undo_removal {ids}, turn_page {page}.
    """

    def __init__(
        self, name: str, mode: Literal["library", "takes"], value: dict[str, Any] | None = None, *, render: bool = True
    ) -> None:
        super().__init__("clip_grid", value, words=general.GRID_WORDS, elem_id=name, mode=mode, render=render)
