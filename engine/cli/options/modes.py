"""Options of `dailies generate` for its modes: in one piece, from keyframes, or window by window."""

import argparse
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, StoreError
from engine.storage.images import read_picture, save_picture
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
PICTURE_OPTIONS = ("image", "last_image")
MODE_OPTIONS = ("mode", "given", *PICTURE_OPTIONS, *KEYFRAME_OPTIONS, *WINDOW_OPTIONS)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="picture that the clip begins with, cropped to the clip's size"
    )
    parser.add_argument("--last-image", type=Path, metavar="FILE", help="picture that the clip ends with")


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
    pictures = {name: file for name in PICTURE_OPTIONS if (file := getattr(options, name)) is not None}
    fields |= {name: _store(file, workspace) for name, file in pictures.items()}
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
    return {"frame": int(frame), "picture": _store(Path(name), workspace)}


def _store(file: Path, workspace: Workspace) -> str:
    """Copy a picture into the workspace and return its name.

    Raises ConfigError for a file that is no picture.
    """
    try:
        return save_picture(workspace, read_picture(file, str(file)))
    except StoreError as error:
        raise ConfigError(str(error)) from error
