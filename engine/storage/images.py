"""Single pictures, such as keyframes: PNG files named by the SHA-256 of their content, so that a request can name one.

Written beside their place and moved there whole; a file whose content is not what its name says is not believed.
"""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import StoreError
from engine.workspace import Workspace


def save_picture(workspace: Workspace, picture: np.ndarray) -> str:
    """Keep `uint8[H,W,3]` and say its name, 64 hex digits; the same pixels have the same name. Raises StoreError."""
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(written, format="PNG")
    name = hashlib.sha256(written.getvalue()).hexdigest()
    path = workspace.pictures / f"{name}.png"
    if path.exists():
        return name
    beside = workspace.pictures / f".{name}.{os.getpid()}.part"
    try:
        workspace.pictures.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(written.getvalue())
        os.replace(beside, path)
    except OSError as error:
        raise StoreError(f"A picture cannot be kept in '{workspace.pictures}': {error.strerror}.") from error
    return name


def import_picture(workspace: Workspace, path: Path, width: int, height: int) -> str:
    """Keep the middle of a PNG or JPEG file, cut and resized to `width` x `height` px, and say its name.

    Raises StoreError for a file that is no picture, or too large to be one.
    """
    try:
        with Image.open(path) as picture:
            fitted = ImageOps.fit(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StoreError(f"'{path.name}' cannot be read as a picture: give a PNG or JPEG file.") from error
    return save_picture(workspace, np.asarray(fitted))


def load_picture(workspace: Workspace, name: str) -> np.ndarray:
    """The picture `uint8[H,W,3]` of a name. Raises StoreError when it is not there or damaged."""
    path = workspace.pictures / f"{name}.png"
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise StoreError(f"The picture '{name[:12]}...' is damaged: give the keyframe again.")
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise StoreError(f"The picture '{name[:12]}...' is not in this workspace: give the keyframe again.") from error
