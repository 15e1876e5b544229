"""Video files written by the ffmpeg program of imageio-ffmpeg. Imports no torch.

Clips are stored losslessly as FFV1 in Matroska, and as H.264 for browsers. A file is written under a temporary name and
renamed. `engine.video.reader` reads the files.
"""

import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from engine.errors import StoreError
from engine.files.atomic import partial_file
from engine.video.reader import CHECKSUM_TAG, FPS_TAG, checksum

MIN_SHOWN_PX = 256  # the short side of what a browser is given


def write_lossless(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write `uint8[T,H,W,3]` as FFV1 with a checksum in every slice. Raises StoreError."""
    codec = ["-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-pix_fmt", "gbrp"]
    tags = ["-metadata", f"{FPS_TAG}={fps!r}", "-metadata", f"{CHECKSUM_TAG}={checksum(frames)}"]
    _encode(path, frames, fps, [*codec, *tags, "-f", "matroska"])


def write_mp4(path: Path, frames: np.ndarray, fps: float, scale: int | None = None) -> None:
    """Write H.264 for browsers, with each pixel enlarged to `scale` x `scale`.

    None: the smallest scale with a short side of at least 256 px. Odd sides get one black row or column. Raises
    StoreError.
    """
    height, width = frames.shape[1:3]
    factor = scale or enlargement(height, width)
    filters = f"scale={width * factor}:{height * factor}:flags=neighbor:out_color_matrix=bt709:out_range=tv"
    filters += ",pad=ceil(iw/2)*2:ceil(ih/2)*2,format=yuv420p"
    filters += ",setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-movflags", "+faststart"]
    _encode(path, frames, fps, ["-vf", filters, *codec, "-f", "mp4"])


def write_poster(path: Path, frames: np.ndarray) -> None:
    """Write the middle frame as a JPEG, enlarged like the mp4. Raises StoreError."""
    from PIL import Image

    factor = enlargement(*frames.shape[1:3])
    picture = np.ascontiguousarray(frames[len(frames) // 2]).repeat(factor, axis=0).repeat(factor, axis=1)
    try:
        with partial_file(path) as partial:
            Image.fromarray(picture).save(partial, format="JPEG", quality=90)
    except OSError as error:
        raise _unwritable(path, str(error)) from error


def enlargement(height: int, width: int) -> int:
    """Return the smallest integer factor that makes the short side at least 256 px."""
    return max(1, -(-MIN_SHOWN_PX // min(height, width)))


def _encode(path: Path, frames: np.ndarray, fps: float, options: list[str]) -> None:
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3, f"{frames.dtype}{frames.shape}"
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", repr(float(fps))]
    command = [_ffmpeg(), "-v", "error", "-nostdin", "-y", *source, "-i", "pipe:0", "-an", *options]
    try:
        with partial_file(path) as partial:
            done = subprocess.run(
                [*command, f"file:{partial}"], input=np.ascontiguousarray(frames).data, capture_output=True, check=False
            )
            if done.returncode != 0:
                raise _unwritable(path, done.stderr.decode(errors="replace"))
    except OSError as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, output: str) -> StoreError:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    full = next((line for line in lines if "No space left" in line), None)
    why = "the disk is full" if full else (lines[-1].strip() if lines else "ffmpeg gave no reason")

    return StoreError(f"'{path}' cannot be written: {why}. Free some space or choose another workspace.")


@cache
def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
