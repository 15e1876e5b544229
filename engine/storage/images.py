"""Single pictures, such as keyframes and given first frames.

They are PNG files named by the SHA-256 of their content. Files are written atomically; a file whose content does not
match its name is rejected, and replaced when the picture is added again.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import StoreError
from engine.files.atomic import write_bytes_atomic
from engine.workspace import Workspace

# Pillow has some forty other readers; that of PostScript starts another program.
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**26  # 8192x8192; a small file may contain a huge picture


def save_picture(workspace: Workspace, picture: np.ndarray) -> str:
    """Store `uint8[H,W,3]` and return its name, 64 hex digits that depend on the pixels.

    Raises StoreError.
    """
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(content, format="PNG")
    name = hashlib.sha256(content.getvalue()).hexdigest()
    path = workspace.pictures / f"{name}.png"
    try:
        if not (path.is_file() and path.read_bytes() == content.getvalue()):
            write_bytes_atomic(path, content.getvalue())
    except OSError as error:
        raise StoreError(f"A picture cannot be stored in '{workspace.pictures}': {error.strerror}.") from error
    return name


def import_picture(workspace: Workspace, path: Path, width: int, height: int) -> str:
    """Store the centre of a PNG, JPEG or WebP file, cropped and resized to `width` x `height` px.

    Return its name.

    Raises StoreError for a file that is no picture, or too large.
    """
    return save_picture(workspace, fit_picture(read_picture(path, path.name), width, height))


def read_picture(file: Path | bytes, name: str) -> np.ndarray:
    """Return the picture `uint8[H,W,3]` of a file or its content.

    It is upright by its EXIF data, without transparency. Raises StoreError, which calls it `name`, for a file that is
    no picture, damaged, or too large.
    """
    try:
        with _opened(file if isinstance(file, Path) else io.BytesIO(file), name) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise StoreError(f"'{name}' cannot be read as a picture: use a PNG, JPEG or WebP file.") from error


def fit_picture(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the centre of `uint8[H,W,3]` as `uint8[height,width,3]`.

    The picture is cropped to the aspect of `width` x `height` px and resized (Lanczos).
    """
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS))


def load_picture(workspace: Workspace, name: str) -> np.ndarray:
    """Return the picture `uint8[H,W,3]` of a name. Raises StoreError when it is missing or damaged."""
    path = workspace.pictures / f"{name}.png"
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise StoreError(f"The picture '{name[:12]}...' is damaged: add the picture again.")
        with _opened(io.BytesIO(content), name[:12]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise StoreError(f"The picture '{name[:12]}...' is not in this workspace: add the picture again.") from error


@contextmanager
def _opened(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """Open a picture of one of FORMATS, before its pixels are decoded.

    Raises StoreError for too many pixels, and OSError.
    """
    too_large = f"'{name}' has more than {MAX_PIXELS:,} pixels: make it smaller."
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise StoreError(too_large)
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StoreError(too_large) from error
