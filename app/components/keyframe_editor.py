"""The keyframes of a clip to come: redraw one, replace one by a picture, then have the rest made."""

from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from app.components.base import Component
from app.text import modes
from engine.errors import ConfigError


class KeyframeEditor(Component):
    """`value` comes from `app.views.keyframes`. Events: redraw {frame}, replace {frame, path}, complete, discard."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("keyframe_editor", None, words=modes.STRIP_WORDS, elem_id=name, render=render)


def uploaded(path: Any) -> Path:
    """Where a picture lies that this page was sent. Raises ConfigError for any other place on this machine."""
    place = Path(str(path)).resolve()
    if not place.is_relative_to(Path(get_upload_folder()).resolve()) or not place.is_file():
        raise ConfigError("The picture did not arrive: send it again.")
    return place
