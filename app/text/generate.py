"""Texts of earlier prompts and saved settings in the Generate form."""

from collections.abc import Mapping
from typing import Any

from app.text.general import count

HISTORY_WORDS = {
    "title": "Recent and example prompts",
    "recent": "Recent (arrow up in the empty field: the newest)",
    "examples": "Examples",
}

SETTINGS_WORDS = {
    "title": "Saved settings",
    "name": "Name of these settings",
    "save": "Save",
    "save_hint": "Saves the form without prompt and seed",
    "apply": "Apply",
    "delete": "Delete",
    "deleted": "Deleted: {title}.",
    "undo": "Undo",
    "none": "Nothing saved yet.",
}
NO_SETTINGS_NAME = "Enter a name for the settings."
NO_SUCH_SETTINGS = "These settings no longer exist: open the list again."
SAVED_SETTINGS = "Saved as “{title}”."


def settings_line(values: Mapping[str, Any]) -> str:
    """Summary of saved settings, e.g. "mini, 33 frames, 20 steps"."""
    frames, steps = (values.get(name) for name in ("num_frames", "num_steps"))
    sizes = [
        count(int(size), noun) for size, noun in ((frames, "frame"), (steps, "step")) if isinstance(size, int | float)
    ]
    return ", ".join([*([str(values["model"])] if values.get("model") else []), *sizes])
