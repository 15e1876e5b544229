"""Reader of users' videos: `uint8[T,H,W,3]` at a constant rate. Imports no torch.

Files are decoded by PyAV, from a short list of containers and from local files only. What is decided about a file comes
from typed values (packets, time stamps, flags of frames, errors), never from the text that a decoder prints:

damage          missing, concealed and undecodable frames, and an end that comes before the promised one, are refused
times           frames stand at their times: a variable rate becomes a constant one with repeated frames
pixels          rotated upright, made square, deinterlaced, alpha composited on black, HDR tone-mapped to SDR

Each change is a sentence in `Video.notes`.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import MediaError
from engine.video.frame_pixels import Pixels
from engine.video.frame_times import constant_rate, regular_slots, without_reorder_gap

MAX_FRAMES = 2_000
MAX_FPS = 1_000
MAX_PIXELS = 600_000_000  # T*H*W: 1.8 GB of RGB
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi"
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")
# Moving pictures that people have and that are not read.
OTHER_SUFFIXES = tuple(".ts .m2ts .mts .mpg .mpeg .vob .m4v .3gp .wmv .flv .ogv .y4m .mxf .webp .apng .avif".split())
DECODE_TIMEOUT_S = 300
CHECKSUM_TAG = "DAILIES_SHA256"
FPS_TAG = "DAILIES_FPS"  # containers round frame rates; the tag keeps all digits

log = logging.getLogger(__name__)


class Video(NamedTuple):
    """Decoded frames `uint8[T,H,W,3]`, their rate in 1/s, and a sentence for each change while reading."""

    frames: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoHeader:
    """The video stream as its file describes it, before decoding.

    `width` counts square pixels, before rotation. `num_frames` and `seconds` are None where the file gives no length.
    """

    width: int
    height: int
    fps: float
    num_frames: int | None
    seconds: float | None


def read_header(path: Path) -> VideoHeader:
    """Size, rate and length without decoding. Raises MediaError when `path` is not a readable video."""
    with open_video(path) as container:
        return _header(container, path)


def check_video(path: Path) -> VideoHeader:
    """The header of a video within the limits of `read_video`. Raises MediaError for any other file."""
    header = read_header(path)
    _check_size(path, header, _frame_limit(header, MAX_FRAMES, MAX_PIXELS))
    return header


def videos_in(folder: Path) -> list[Path]:
    """The videos that lie in a folder itself, by name, without hidden files."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def skipped_in(folder: Path) -> dict[str, str]:
    """Files of a folder that look like clips but that `videos_in` leaves out, each with the reason."""
    reasons = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not path.exists():
            reasons[path.name] = "The link leads nowhere: restore its target or remove it."
        elif path.suffix.lower() in OTHER_SUFFIXES:
            reasons[path.name] = f"Not a supported video type: convert it to one of {', '.join(VIDEO_SUFFIXES)}."
    return reasons


def read_video(path: Path, *, max_frames: int | None = MAX_FRAMES, max_pixels: int | None = MAX_PIXELS) -> Video:
    """Decode a whole video. `max_pixels` limits T*H*W; None lifts a limit.

    Raises MediaError in one sentence: not there, empty, not a video, damaged, cut off, without frames, or too large (by
    its header where the header gives a length, otherwise while decoding).
    """
    with open_video(path) as container:
        header = _header(container, path)
        limit = _frame_limit(header, max_frames, max_pixels)
        _check_size(path, header, limit)
        decoded = _Decoding(path, container, limit)
        decoded.run()
        if limit is not None and len(decoded.frames) > limit:
            raise _too_large(path, header, len(decoded.frames), limit)
        decoded.check()
        video = _timed(decoded, header)
    if limit is not None and len(video.frames) > limit:
        raise _too_large(path, header, len(video.frames), limit)
    return video


def read_lossless(path: Path, sha256: str | None = None) -> tuple[np.ndarray, float]:
    """Read the output of `engine.video.writer.write_lossless`: the same `uint8[T,H,W,3]` and fps.

    Raises MediaError for a damaged file: FFV1 conceals damage, so frames are held against their `checksum`, which is
    `sha256` or the tag in the file.
    """
    with open_video(path) as container:
        expected = sha256 or container.metadata.get(CHECKSUM_TAG)
    video = read_video(path, max_frames=None, max_pixels=None)
    if expected and checksum(video.frames) != expected:
        raise MediaError(f"'{path.name}' is damaged: its frames are not those that were written.")
    return video.frames, video.fps


def checksum(frames: np.ndarray) -> str:
    """SHA-256 of the exact frames `uint8[T,H,W,3]` and their shape, in hex digits."""
    digest = hashlib.sha256(f"{frames.shape}".encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def open_video(path: Path) -> Any:
    """Open a local file with PyAV. Raises MediaError for a missing or empty file, or no video container."""
    import av

    if _size(path) == 0:
        raise MediaError(f"'{path.name}' is empty (0 bytes): export or download it again.")
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        return av.open(f"file:{path.absolute()}", options=options, timeout=30.0)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path) from error


class _Decoding:
    """Decoder of one file: its frames, and counts of damage."""

    def __init__(self, path: Path, container: Any, limit: int | None) -> None:
        self.path, self.container, self.limit = path, container, limit
        self.stream = container.streams.video[0]
        self.stream.thread_type = "SLICE"  # with frame threads an error takes whole frames with it
        self.frames: list[np.ndarray] = []
        self.times: list[Fraction | None] = []
        self.pixels = Pixels(self.stream.sample_aspect_ratio)
        self.packets = self.errors = self.concealed = self.torn = 0
        self.end = 0.0  # seconds reached by any stream
        self.video_end = 0.0
        self.stopped_early = False

    def run(self) -> None:
        began = time.monotonic()
        for frame in self.pixels.deinterlaced(self._decoded()):
            self.concealed += bool(frame.is_corrupt)
            self.times.append(None if frame.pts is None else frame.pts * frame.time_base)
            self.frames.append(self.pixels.rgb(frame))
            if self.limit is not None and len(self.frames) > self.limit:
                self.stopped_early = True
                return
            if self.frames[-1].shape != self.frames[0].shape:
                raise MediaError(f"'{self.path.name}' changes its picture size on the way: convert it to an mp4 first.")
            if time.monotonic() - began > DECODE_TIMEOUT_S:
                raise MediaError(
                    f"'{self.path.name}' could not be read within {DECODE_TIMEOUT_S} s: convert it to an mp4 first."
                )

    def check(self) -> None:
        """Raise MediaError for a file without frames, or with missing or damaged frames."""
        promised, missing_end = _promised_frames(self.container, self.stream), self._missing_end()
        lost = self.errors > 0 and (promised is None or len(self.frames) < promised)
        if not self.frames:
            raise MediaError(f"'{self.path.name}' is damaged or has no frames: export or download it again.")
        if missing_end or lost or self.concealed or self.torn:
            log.info(
                "'%s': %d frames of %s, %d packets, %d undecodable, %d concealed, %d torn, end %.3f s",
                self.path, len(self.frames), promised, self.packets, self.errors, self.concealed, self.torn, self.end,
            )  # fmt: skip
            whole = max(0, len(self.frames) - self.concealed)
            raise MediaError(
                f"'{self.path.name}' is damaged or cut off after about {whole} frames: export or download it again."
            )

    def notes(self) -> tuple[str, ...]:
        if not self.errors:
            return self.pixels.notes
        return (*self.pixels.notes, f"{self.errors} packets could not be decoded; all frames are present.")

    def _decoded(self) -> Iterator[Any]:
        """Frames in order of presentation; undecodable packets are counted and passed over."""
        import av

        alpha = _alpha_decoder(self.stream)
        try:
            for packet in self.container.demux():
                self._account(packet)
                if packet.stream.index != self.stream.index:
                    continue
                try:
                    decoded = alpha.decode(packet if packet.size else None) if alpha else packet.decode()
                    for frame in decoded:
                        frame.time_base = self.stream.time_base
                        yield frame
                except av.error.FFmpegError:
                    self.errors += 1
        except (av.error.FFmpegError, OSError):
            self.torn += 1

    def _account(self, packet: Any) -> None:
        is_video = packet.stream.index == self.stream.index
        if is_video and packet.size:
            self.packets += 1
            self.torn += bool(packet.is_corrupt)
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.size:
            end = float((stamp + (packet.duration or 0)) * packet.time_base)
            self.end = max(self.end, end)
            if is_video:
                self.video_end = max(self.video_end, end)

    def _missing_end(self) -> bool:
        """Return True when the file ends before the length given by its container."""
        if self.stopped_early:
            return False
        name = self.container.format.name
        if name == "gif":
            return not _gif_is_whole(self.path)
        step = 1 / float(self.stream.guessed_rate or 1)
        start = float((self.stream.start_time or 0) * self.stream.time_base)
        promised = _stream_seconds(self.stream)
        if name == "avi" and self.stream.frames:  # without its index the length is derived from the remaining packets
            promised = self.stream.frames * step
        if promised is not None:
            return start + promised - self.video_end > 2 * step + 0.05
        if self.container.duration:
            return float(self.container.duration) / 1e6 - self.end > 2 * step + 0.5
        return False


def _timed(decoded: _Decoding, header: VideoHeader) -> Video:
    """The decoded frames at a constant rate."""
    stream, times = decoded.stream, [float(at) for at in decoded.times if at is not None]
    notes = decoded.notes()
    if len(times) < len(decoded.frames):
        return Video(np.stack(decoded.frames), header.fps, notes)
    order = np.argsort(times, kind="stable")
    frames, ordered = [decoded.frames[index] for index in order], np.asarray(times)[order]
    kind = decoded.container.format.name
    end = None if kind == "gif" else _end(decoded)
    if kind == "avi":
        ordered = without_reorder_gap(ordered)
    candidates = _candidate_rates(decoded.container, stream)
    if rate := constant_rate(ordered, candidates, end):
        return Video(np.stack(frames), rate, notes)
    fps, slots = regular_slots(ordered, candidates, end)
    if not 0 < fps <= MAX_FPS:
        raise _no_rate(decoded.path)
    changed = f"The frame rate varies: {len(frames)} frames became {len(slots)} at a constant {fps:.4g} fps."
    return Video(np.stack([frames[index] for index in slots]), fps, (*notes, changed))


def _end(decoded: _Decoding) -> float:
    """When the last frame ends, in s; what an edit list cuts off does not count."""
    stream, seconds = decoded.stream, _stream_seconds(decoded.stream)
    start = float((stream.start_time or 0) * stream.time_base)
    return decoded.video_end if seconds is None else min(decoded.video_end, start + seconds)


def _candidate_rates(container: Any, stream: Any) -> list[float]:
    """Rates that the file names, the most exact one first."""
    tag = container.metadata.get(FPS_TAG) or stream.metadata.get(FPS_TAG)
    named = [_number(tag), stream.guessed_rate, stream.average_rate, stream.base_rate]
    return [float(rate) for rate in named if rate]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _header(container: Any, path: Path) -> VideoHeader:
    """Raises MediaError when the container has no pictures, or no usable rate."""
    if not container.streams.video or not container.streams.video[0].width:
        raise _not_a_video(path)
    stream = container.streams.video[0]
    rates = _candidate_rates(container, stream)
    if not rates or not 0 < rates[0] <= MAX_FPS:
        raise _no_rate(path)
    pixels = Pixels(stream.sample_aspect_ratio)
    return VideoHeader(
        width=pixels.square_width(stream.width),
        height=stream.height,
        fps=rates[0],
        num_frames=_promised_frames(container, stream),
        seconds=_seconds(container, stream),
    )


def _promised_frames(container: Any, stream: Any) -> int | None:
    """Return the number of frames in the video stream's header; the lengths of other streams do not count."""
    if stream.frames:
        return int(stream.frames)
    seconds = _seconds(container, stream)
    return None if seconds is None else max(1, round(seconds * float(stream.guessed_rate or 1)))


def _seconds(container: Any, stream: Any) -> float | None:
    own = _stream_seconds(stream)
    if own is None and len(container.streams) == 1 and container.duration:
        return float(container.duration) / 1e6
    return own


def _stream_seconds(stream: Any) -> float | None:
    """The length of the video stream itself: its own field, or the tag that Matroska's muxers write."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    parts = str(stream.metadata.get("DURATION", "")).split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _alpha_decoder(stream: Any) -> Any | None:
    """Return a decoder for the transparency of VP8 and VP9, which the default one drops; else None."""
    import av

    libraries = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
    name = libraries.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return None
    return av.CodecContext.create(name, "r")


def _gif_is_whole(path: Path) -> bool:
    """Return True when the last picture of a GIF is complete, which the demuxer does not report."""

    from PIL import Image

    try:
        with Image.open(path, formats=("GIF",)) as picture:
            for index in range(getattr(picture, "n_frames", 1)):
                picture.seek(index)
                picture.load()
    except (OSError, EOFError, SyntaxError):
        return False
    return True


def _frame_limit(header: VideoHeader, max_frames: int | None, max_pixels: int | None) -> int | None:
    limits = [max_frames, max_pixels // (header.width * header.height) if max_pixels is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _check_size(path: Path, header: VideoHeader, limit: int | None) -> None:
    if limit is not None and (header.num_frames or 0) > limit:
        raise _too_large(path, header, header.num_frames or 0, limit)


def _too_large(path: Path, header: VideoHeader, num_frames: int, limit: int) -> MediaError:
    return MediaError(
        f"'{path.name}' is too large: {num_frames} frames of {header.width}x{header.height} px, at most {limit} of "
        "that size can be read. Cut it shorter or scale it down."
    )


def _not_a_video(path: Path) -> MediaError:
    return MediaError(f"'{path.name}' is not a video that can be read: use an mp4, mov, webm, mkv, avi or gif file.")


def _no_rate(path: Path) -> MediaError:
    return MediaError(f"'{path.name}' has no usable frame rate: convert it to an mp4 first.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"'{path}' cannot be opened: {why}. Check the path.") from error
