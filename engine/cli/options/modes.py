"""Options of `dailies generate` for its modes: in one piece, from keyframes, or window by window."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.errors import ConfigError
from engine.storage.images import save_picture
from engine.workspace import Workspace

# Option -> field of the plan in a request.
KEYFRAME_OPTIONS = {
    "interval": "interval",
    "keyframe_guidance": "keyframe_guidance",
    "inbetween_guidance": "inbetween_guidance",
    "flow_guidance": "flow_guidance",
    "keyframe_source": "source",
    "drafts": "drafts",
    "choose_by": "choose_by",
}
WINDOW_OPTIONS = {"window": "length", "overlap": "overlap"}
MODE_OPTIONS = ("mode", "given", *KEYFRAME_OPTIONS, *WINDOW_OPTIONS)


def add_modes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation mode")
    group.add_argument(
        "--mode",
        choices=("direct", "keyframes", "windows"),
        help="direct (default): the whole clip at once; keyframes; or windows",
    )
    group.add_argument("--interval", type=int, metavar="N", help="keyframes: interval in frames (8)")
    group.add_argument(
        "--keyframe-guidance", type=float, metavar="G", help="keyframes: guidance of the first stage (the model's)"
    )
    group.add_argument(
        "--inbetween-guidance", type=float, metavar="G", help="keyframes: guidance of the frames in between (3)"
    )
    group.add_argument(
        "--flow-guidance", type=float, metavar="0..1", help="keyframes: guidance towards their optical flow (0)"
    )
    group.add_argument(
        "--keyframe-source",
        choices=("joint", "independent", "given"),
        help="keyframes: source of the keyframes (joint)",
    )
    group.add_argument("--drafts", type=int, metavar="N", help="keyframes: number of joint drafts (1)")
    group.add_argument("--choose-by", metavar="MIX", help="keyframes: mix of rewards that chooses a draft")
    group.add_argument(
        "--keyframe",
        dest="given",
        action="append",
        metavar="FRAME=FILE",
        help="keyframes: a picture of the clip's size for a frame; repeat the option for more",
    )
    group.add_argument("--window", type=int, metavar="N", help="windows: length in frames (64, or the model's maximum)")
    group.add_argument("--overlap", type=int, metavar="N", help="windows: overlap in frames (16)")


def mode_fields(options: argparse.Namespace, workspace: Workspace) -> dict[str, Any]:
    """Return the request fields that the options set, and store pictures in the workspace.

    Raises ConfigError.
    """
    keyframes = _set_fields(options, KEYFRAME_OPTIONS)
    if options.given:
        keyframes["given"] = [_read_keyframe(text, workspace) for text in options.given]
    fields = {"mode": options.mode, "keyframes": keyframes, "windows": _set_fields(options, WINDOW_OPTIONS)}
    return {name: value for name, value in fields.items() if value}


def _set_fields(options: argparse.Namespace, names: dict[str, str]) -> dict[str, Any]:
    """Return the values of the options that are set, by the field's name."""
    return {field: value for name, field in names.items() if (value := getattr(options, name)) is not None}


def _read_keyframe(text: str, workspace: Workspace) -> dict[str, Any]:
    """Read `FRAME=FILE` as a given keyframe.

    Raises ConfigError for another form, or a file that is not a picture.
    """
    frame, _, name = text.partition("=")
    if not frame.isdecimal() or not name:
        raise ConfigError(f"--keyframe takes FRAME=FILE, such as 8=cat.png, but got '{text}'.")
    try:
        with Image.open(Path(name)) as picture:
            return {"frame": int(frame), "picture": save_picture(workspace, np.asarray(picture.convert("RGB")))}
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError(f"'{name}' cannot be read as a picture: use a PNG or JPEG file.") from error
