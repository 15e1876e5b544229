"""First and last picture in the Generate form.

Each has the name of a stored picture, an upload button and a preview. The name is the value, so that a form filled from
a clip needs no upload. Models that take no picture hide the fields.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from app.components.keyframe_editor import uploaded
from app.text import general
from app.views.keyframes import picture_url
from engine.config.presets import load_preset
from engine.errors import ConfigError, StoreError
from engine.families.registry import family_spec
from engine.generation.clip_plan import PICTURES
from engine.request import PICTURE
from engine.storage.images import read_picture, save_picture
from engine.workspace import Workspace

SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]


class PictureFields:
    """Components, created in the current layout block.

    `fields` hold the names, `groups` are hidden or shown.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.fields: dict[str, Any] = {}
        self.groups: list[Any] = []
        self.previews: list[Any] = []
        self.uploads: list[Any] = []
        self.removers: list[Any] = []
        for name in PICTURES:
            self._build(name)

    def _build(self, name: str) -> None:
        elem_id = name.replace("_", "-")
        label = general.PICTURES[name]
        with gr.Column(visible=False, elem_classes="given-picture") as group:
            self.fields[name] = gr.Textbox("", visible=False, label=label)
            with gr.Row(elem_classes="tight"):
                self.uploads.append(
                    gr.UploadButton(
                        f"{label}: {general.CHOOSE_PICTURE.lower()}", file_types=SUFFIXES, size="sm", elem_id=elem_id
                    )
                )
                self.removers.append(gr.Button(general.REMOVE_PICTURE, size="sm", scale=0, min_width=72))
            self.previews.append(gr.HTML("", elem_id=f"{elem_id}-preview"))
        self.groups.append(group)

    @property
    def named(self) -> list[Any]:
        return [self.fields[name] for name in PICTURES]

    @property
    def outputs(self) -> list[Any]:
        """Outputs of `offered`."""
        return [*self.groups, *self.named]

    def store(self, path: str) -> str:
        """Copy an uploaded picture into the workspace and return its name. Raises ConfigError."""
        try:
            return save_picture(self.workspace, read_picture(uploaded(path), "The picture"))
        except StoreError as error:
            raise ConfigError(str(error)) from error


def offered(model: str | None, *names: str) -> list[Any]:
    """Return updates for `PictureFields.outputs`.

    Fields that the model does not take are hidden and emptied.
    """
    spec = family_spec(load_preset("models", model).family) if model else None
    taken = [spec is not None and bool(getattr(spec, f"takes_{name}")) for name in PICTURES]
    values = [value if is_taken else "" for value, is_taken in zip(names, taken, strict=True)]
    return [*(gr.update(visible=is_taken) for is_taken in taken), *values]


def preview(name: str) -> str:
    """Return the HTML of a stored picture; "" for none, or for a text that is no name."""
    if not re.fullmatch(PICTURE, name or ""):
        return ""
    return f'<img class="given-picture" src="{picture_url(name)}" alt="{general.GIVEN_PICTURE}">'


def read_pictures(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the request fields of the pictures that are set."""
    return {name: fields[name] for name in PICTURES if fields.get(name)}


def shown_pictures(values: Mapping[str, Any]) -> Sequence[str]:
    """Return the values of the picture fields for a request's fields."""
    return [values[name] or "" for name in PICTURES]
