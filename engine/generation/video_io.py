"""Frames to files and back, through the ffmpeg that imageio-ffmpeg ships. Imports no torch.

What is kept for scoring is FFV1 in Matroska, bit for bit; what a browser plays is H.264. Files are written beside their
place and moved there whole. Uploads are read from a short list of video containers, from local files only, and are
refused by their header when they are too large to be decoded.
"""

import logging
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.errors import MediaError, StoreError

MIN_SHOWN_PX = 256  # the short side of what a browser is given
MAX_FRAMES = 2_000
MAX_FPS = 1_000
MAX_PIXELS = 600_000_000  # T*H*W: 1.8 GB of RGB
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi"
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")
DECODE_TIMEOUT_S = 300
FPS_TAG = "DAILIES_FPS"  # ffmpeg prints rates with two decimals; the tag keeps all of them

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoHeader:
    """What a file says of itself, before anything is decoded. `seconds` is None where the container does not say."""

    width: int
    height: int
    fps: float
    seconds: float | None

    @property
    def num_frames(self) -> int | None:
        return None if self.seconds is None else max(1, round(self.seconds * self.fps))


def write_lossless(path: Path, frames: np.ndarray, fps: float) -> None:
    """`uint8[T,H,W,3]` as FFV1 with a checksum in every slice. Raises StoreError when it cannot be written."""
    codec = ["-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-pix_fmt", "gbrp"]
    _encode(path, frames, fps, [*codec, "-metadata", f"{FPS_TAG}={fps!r}", "-f", "matroska"])


def read_lossless(path: Path) -> tuple[np.ndarray, float]:
    """What `write_lossless` wrote: the same `uint8[T,H,W,3]` and fps. Raises MediaError when the file is damaged."""
    header = read_header(path)
    return _decode(path, None), header.fps


def write_mp4(path: Path, frames: np.ndarray, fps: float, scale: int | None = None) -> None:
    """H.264 that browsers play at once, each pixel shown as `scale` x `scale` (None: the short side is then >= 256 px).

    Odd sides get one black row or column. Raises StoreError when it cannot be written.
    """
    height, width = frames.shape[1:3]
    factor = scale or enlargement(height, width)
    filters = f"scale={width * factor}:{height * factor}:flags=neighbor:out_color_matrix=bt709:out_range=tv"
    filters += ",pad=ceil(iw/2)*2:ceil(ih/2)*2,format=yuv420p"
    filters += ",setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-movflags", "+faststart"]
    _encode(path, frames, fps, ["-vf", filters, *codec, "-f", "mp4"])


def write_poster(path: Path, frames: np.ndarray) -> None:
    """The middle frame as a JPEG, enlarged as the mp4 is. Raises StoreError when it cannot be written."""
    from PIL import Image

    factor = enlargement(*frames.shape[1:3])
    picture = np.ascontiguousarray(frames[len(frames) // 2]).repeat(factor, axis=0).repeat(factor, axis=1)
    beside = _beside(path)
    try:
        Image.fromarray(picture).save(beside, format="JPEG", quality=90)
        os.replace(beside, path)
    except OSError as error:
        raise _unwritable(path, str(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def enlargement(height: int, width: int) -> int:
    """The smallest whole factor that makes the short side at least 256 px."""
    return max(1, -(-MIN_SHOWN_PX // min(height, width)))


def read_header(path: Path) -> VideoHeader:
    """Size, rate and length without decoding. Raises MediaError when `path` is no video that can be read."""
    size = _size(path)
    if size == 0:
        raise MediaError(f"'{path.name}' is empty (0 bytes): export or download it again.")
    said = _run([*_input(path)], timeout_s=30, name=path.name).stderr.decode(errors="replace")
    stream = re.search(r"Stream #.*?: Video: .*?, (\d+)x(\d+)[ ,].*?([\d.]+k?) (?:fps|tbr)", said)
    if stream is None:
        raise MediaError(f"'{path.name}' is not a video that can be read: use an mp4, mov, webm, mkv, avi or gif file.")
    rate = float(stream[3].removesuffix("k")) * (1000 if stream[3].endswith("k") else 1)
    tag = re.search(rf"{FPS_TAG}\s*: ([\d.e+-]+)", said)
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3]) if length else None
    fps = float(tag[1]) if tag else rate
    if not 0 < fps <= MAX_FPS:
        raise MediaError(f"'{path.name}' has no usable frame rate: convert it to an mp4 first.")
    return VideoHeader(width=int(stream[1]), height=int(stream[2]), fps=fps, seconds=seconds)


def videos_in(folder: Path) -> list[Path]:
    """The videos that lie in a folder itself, by name; hidden files are left out."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def read_video(
    path: Path, *, max_frames: int | None = MAX_FRAMES, max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, float]:
    """All frames `uint8[T,H,W,3]` as they are stored, and fps; `max_pixels` is T*H*W, None lifts a limit.

    Raises MediaError in one sentence: not there, empty, no video, damaged, cut off, no frames, or too large (by its
    header, so that nothing large is decoded; a header that lies is found out while decoding).
    """
    header = read_header(path)
    limit = _frame_limit(header, max_frames, max_pixels)
    if limit is not None and (header.num_frames or 0) > limit:
        raise _too_large(path, header, header.num_frames or 0, limit)
    frames = _decode(path, limit)
    if limit is not None and len(frames) > limit:
        raise _too_large(path, header, len(frames), limit)
    return frames, header.fps


def _decode(path: Path, limit: int | None) -> np.ndarray:
    """All frames, or one more than `limit`. Raises MediaError when there are none, or ffmpeg gives up or complains.

    Damage and a missing end are complaints only: ffmpeg goes on with what is left, but that is not what was filmed.
    """
    stop = [] if limit is None else ["-frames:v", str(limit + 1)]
    out = [
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        *stop,
        "-f",
        "image2pipe",
        "-c:v",
        "ppm",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    done = _run(["-v", "error", *_input(path), *out], timeout_s=DECODE_TIMEOUT_S, name=path.name)
    frames = _split_ppm(done.stdout, path)
    if len(frames) == 0:
        raise MediaError(f"'{path.name}' is damaged or has no frames: export or download it again.")
    if done.returncode != 0 or done.stderr.strip():
        log.info("ffmpeg on '%s': %s", path, done.stderr.decode(errors="replace").strip())
        raise MediaError(
            f"'{path.name}' is damaged or cut off after about {len(frames)} frames: export or download it again."
        )
    return frames


def _frame_limit(header: VideoHeader, max_frames: int | None, max_pixels: int | None) -> int | None:
    limits = [max_frames, max_pixels // (header.width * header.height) if max_pixels is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _too_large(path: Path, header: VideoHeader, num_frames: int, limit: int) -> MediaError:
    return MediaError(
        f"'{path.name}' is too large: {num_frames} frames of {header.width}x{header.height} px, at most {limit} of "
        "that size can be read. Cut it shorter or scale it down."
    )


def _split_ppm(stream: bytes, path: Path) -> np.ndarray:
    """A run of binary PPM pictures of one size, as `uint8[T,H,W,3]`; the pictures carry the size after rotation."""
    head = re.match(rb"P6\n(\d+) (\d+)\n255\n", stream)
    if head is None:
        return np.zeros((0, 0, 0, 3), np.uint8)
    width, height = int(head[1]), int(head[2])
    each = head.end() + width * height * 3
    whole = np.frombuffer(stream, np.uint8, count=len(stream) // each * each).reshape(-1, each)
    if len(stream) % each or not (whole[:, : head.end()] == whole[0, : head.end()]).all():
        raise MediaError(
            f"'{path.name}' is damaged or changes its picture size on the way: convert it to an mp4 first."
        )
    return np.ascontiguousarray(whole[:, head.end() :]).reshape(-1, height, width, 3)


def _encode(path: Path, frames: np.ndarray, fps: float, options: list[str]) -> None:
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3, f"{frames.dtype}{frames.shape}"
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", repr(float(fps))]
    beside = _beside(path)
    try:
        done = subprocess.run(
            [_ffmpeg(), "-v", "error", "-nostdin", "-y", *source, "-i", "pipe:0", "-an", *options, f"file:{beside}"],
            input=np.ascontiguousarray(frames).data,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise _unwritable(path, done.stderr.decode(errors="replace"))
        os.replace(beside, path)
    except OSError as error:
        raise _unwritable(path, str(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def _unwritable(path: Path, said: str) -> StoreError:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    full = next((line for line in lines if "No space left" in line), None)
    why = "the disk is full" if full else (lines[-1].strip() if lines else "ffmpeg said nothing")
    return StoreError(f"'{path}' cannot be written: {why}. Free some space or choose another workspace.")


def _beside(path: Path) -> Path:
    """Where a file grows until it is whole: the same folder, so that moving it into place is atomic."""
    return path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise MediaError(f"'{path}' cannot be opened: {error.strerror}. Check the path.") from error


def _input(path: Path) -> list[str]:
    return ["-nostdin", "-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i", f"file:{path.absolute()}"]


def _run(arguments: list[str], timeout_s: float, name: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        command = [_ffmpeg(), "-hide_banner", *arguments]
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"'{name}' could not be read within {timeout_s:.0f} s: convert it to an mp4 first.") from error


@cache
def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
