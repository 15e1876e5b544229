"""Keyframe editor: regenerate or replace keyframes, then generate the frames between them."""

from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from app.components.base import Component
from app.text import modes
from engine.errors import ConfigError


class KeyframeEditor(Component):
    """Keyframe editor. `value` comes from `app.views.keyframes`.

    Events: redraw {frame}, replace {frame, path}, complete, discard.
    """

    custom_events = ("redraw", "replace", "complete", "discard")

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("keyframe_editor", None, words=modes.STRIP_WORDS, elem_id=name, render=render)


def uploaded(path: Any) -> Path:
    """Return the path of an uploaded picture. Raises ConfigError for any other path on this machine."""
    file = Path(str(path)).resolve()
    if not file.is_relative_to(Path(get_upload_folder()).resolve()) or not file.is_file():
        raise ConfigError("The picture was not uploaded: send it again.")
    return file
