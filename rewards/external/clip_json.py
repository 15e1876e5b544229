"""Clips as JSON: frames as base64 of PNG (lossless) or JPEG pictures."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from rewards.clip import Clip
from rewards.external.clients import CallFailed

JPEG_QUALITY = 95
MAX_PIXELS = 2**30  # of all frames of a clip: 3 GiB


def encode_clip(clip: Clip, frames: int | None = None, picture: str = "png") -> dict[str, Any]:
    """Return a clip as JSON-safe data with `frames` evenly spaced frames (None: all).

    Raises CallFailed for a frame that cannot be encoded.
    """
    count = clip.num_frames if frames is None else min(frames, clip.num_frames)
    indices = np.rint(np.linspace(0, clip.num_frames - 1, count)).astype(int)
    seams = {"seams": list(clip.seams)} if clip.seams and count == clip.num_frames else {}
    given = {} if clip.first_picture is None else {"first_picture": _encode(clip.first_picture, picture)}
    return {
        **seams,
        **given,
        "prompt": clip.prompt,
        "fps": float(clip.fps),
        "num_frames": clip.num_frames,
        "picture": picture,
        "indices": indices.tolist(),
        "frames": [_encode(clip.frames[index], picture) for index in indices],
    }


def decode_frames(encoded: Sequence[str]) -> np.ndarray:
    """Return the frames `uint8[N,H,W,3]` of `encode_clip`.

    Raises ValueError for what is no picture, for frames of different sizes, and for more pixels than a clip may have:
    sizes are read before pictures are decoded, because a small file may contain a huge one.
    """
    data = [base64.b64decode(text, validate=True) for text in encoded]
    sizes = {_size(picture) for picture in data}
    if len(sizes) != 1:
        raise ValueError(f"the frames have {len(sizes)} different sizes")
    [(width, height)] = sizes
    if width * height * len(data) > MAX_PIXELS:
        raise ValueError(f"{len(data)} frames of {width}x{height} are more than {MAX_PIXELS} pixels")
    return np.stack([_decode(picture) for picture in data])


def _size(data: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            return picture.size
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("a frame is no png or jpeg picture") from error


def _decode(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a frame is a damaged png or jpeg picture")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _encode(frame: np.ndarray, picture: str) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if picture == "jpeg" else []
    done, data = cv2.imencode(
        f".{'jpg' if picture == 'jpeg' else 'png'}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options
    )
    if not done:
        raise CallFailed(f"A frame of {frame.shape[1]}x{frame.shape[0]} could not be encoded as {picture}.")
    return base64.b64encode(data.tobytes()).decode("ascii")
