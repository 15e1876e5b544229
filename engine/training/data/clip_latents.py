"""Latents of the clips that a run trains on. A row is a mapping with

    prompt     text
    chosen     the preferred clip: frames `uint8[T,H,W,3]`, or the path of a video
    rejected   the other one, of the same size; may be left out where the chosen clips alone are learnt
    score      optional; VideoDPO's weight of the pair is made of it

Each clip is encoded once; a run sees every pair many times. The latents wait in main memory: of long clips, or of ten
thousand pairs, they would fill a device. A clip at a higher rate than the model's is resampled to it, and one of a
length that the family cannot make is cut to the next one below.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import MediaError, TrainingError
from engine.family_interface import ModelFamily
from engine.video.reader import read_lossless, read_video

SIDES = ("chosen", "rejected")
Size = tuple[int, int, int]
"""Frames, height and width of a clip in px."""
Stored = tuple[Size, float | None]
"""Size of a clip as it is stored, and its rate in fps; None for an array."""
RATE_TOLERANCE = 0.01
"""Rates that differ by less are taken for one: 23.976 and 24, 29.97 and 30."""
READERS = 4
"""Clips that are decoded at once before training."""

log = logging.getLogger(__name__)


class ClipLatentCache:
    """Encode clips with the model's VAE and cache their latents (at most 1/100 of a clip's size).

    `shape` holds num_frames, width and height of the settings. Clips of another shape are trained on as labelled, with
    one warning, since estimates and samples use the settings. `fps` is the network's frame rate; None: clips are not
    resampled.
    """

    def __init__(
        self, family: ModelFamily, shape: Mapping[str, int] | None = None, *, fps: float | None = None
    ) -> None:
        self._family = family
        self._fps = fps
        self._shape = dict(shape or {})
        self._known: dict[str, Tensor] = {}
        self._shapes: dict[str, Size] = {}
        self._device: torch.device | None = None
        self.seen: set[Size] = set()
        """Frames, height and width of the clips so far, as they are learnt."""
        self.resampled: set[float] = set()
        """The rates in fps of the clips so far that were not at the model's."""

    def latents(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        """Return `(chosen, rejected)`, each `float32[B,C,t,h,w]`.

        Raises TrainingError for a row that is no pair, and for clips that differ in size.
        """
        chosen, rejected = ([self._encoded(row, side) for row in rows] for side in ("chosen", "rejected"))
        for row, left, right in zip(rows, chosen, rejected, strict=True):
            if left.shape != right.shape:
                raise TrainingError(
                    f"The clips of a pair must be alike in size, but for {str(row['prompt'])[:60]!r} their latents are "
                    f"{list(left.shape)} and {list(right.shape)}: cut or resize one of them."
                )
        return self._stacked(rows, chosen), self._stacked(rows, rejected)

    def chosen(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Return the chosen clips, `float32[B,C,t,h,w]`; raise TrainingError for clips that differ in size."""
        return self._stacked(rows, [self._encoded(row, "chosen") for row in rows])

    def shape(self, row: Mapping[str, Any]) -> tuple[int, int, int]:
        """Return frames, width and height in px of the row's chosen clip as it is learnt."""
        self._encoded(row, "chosen")
        num_frames, height, width = self._shapes[_key(row["chosen"])]
        return num_frames, width, height

    def sizes(self, rows: Sequence[Mapping[str, Any]], stored: Mapping[str, Stored]) -> list[Size | None]:
        """Return the size at which each row's chosen clip is learnt; None for one that `stored` does not know."""
        found = (stored.get(_key(row["chosen"])) if "chosen" in row else None for row in rows)
        return [None if one is None else self._learnt(*one) for one in found]

    def _learnt(self, size: Size, fps: float | None) -> Size:
        frames, *sides = size
        if fps is not None and self._fps is not None and fps > self._fps * (1 + RATE_TOLERANCE):
            frames = resampled_length(frames, fps, self._fps)
        return (self._allowed(frames) or 0, sides[0], sides[1])

    def _allowed(self, frames: int) -> int | None:
        """Return the largest number of frames, up to `frames`, that the family supports."""
        return next((n for n in range(frames, 0, -1) if self._family.spec.allows_frames(n)), None)

    def _encoded(self, row: Mapping[str, Any], side: str) -> Tensor:
        if side not in row or "prompt" not in row:
            raise TrainingError(f"A pair needs prompt, chosen and rejected, but a row has only {', '.join(row)}.")
        clip = row[side]
        key = _key(clip)
        if key not in self._known:
            frames = self._cut(self._at_rate(clip, side), side)
            self._compare(frames)
            try:
                latents = self._family.encode_frames(frames[None])[0]
            except (ValueError, RuntimeError) as error:
                raise TrainingError(
                    f"A {side} clip of {len(frames)} frames, {frames.shape[2]}x{frames.shape[1]} px, cannot be encoded "
                    f"by this model ({error}): use clips of a length and size that it can make."
                ) from error
            self._known[key], self._device = latents.cpu(), latents.device
            self._shapes[key] = (len(frames), *frames.shape[1:3])
        return self._known[key]

    def _at_rate(self, clip: Any, side: str) -> np.ndarray:
        """Return the frames at the model's rate; raise TrainingError for a clip with a lower one."""
        frames, fps = read_frames(clip)
        if fps is None or self._fps is None or math.isclose(fps, self._fps, rel_tol=RATE_TOLERANCE):
            return frames
        if fps < self._fps:
            raise TrainingError(
                f"The {side} clip {clip} has {fps:g} fps, fewer than the model's {self._fps:g}: set fps to {fps:g} or "
                f"less, or bring the clip at {self._fps:g} fps or more."
            )
        self.resampled.add(fps)
        return resample(frames, fps, self._fps)

    def _cut(self, frames: np.ndarray, side: str) -> np.ndarray:
        """Cut to the largest number of frames that the family supports.

        Its VAE would silently drop or repeat more.
        """
        length = self._allowed(len(frames))
        if length is None:
            raise TrainingError(
                f"A {side} clip has {len(frames)} frames, too few for {self._family.spec.title}: use longer ones."
            )
        self.seen.add((length, *frames.shape[1:3]))
        return frames[:length]

    def _compare(self, frames: np.ndarray) -> None:
        found = dict(zip(("num_frames", "height", "width"), frames.shape, strict=False))
        other = {name: found[name] for name, asked in self._shape.items() if found[name] != asked}
        if other:
            log.warning(
                "A clip of the data has %s, but the settings have %s. Clips are not resized, so memory and time will "
                "differ from the estimate: set these to the clips' values, or make the clips again.",
                ", ".join(f"{name} = {value}" for name, value in other.items()),
                ", ".join(f"{name} = {self._shape[name]}" for name in other),
            )
            self._shape = {}

    def _stacked(self, rows: Sequence[Mapping[str, Any]], latents: Sequence[Tensor]) -> Tensor:
        other = next((row for row, one in zip(rows, latents, strict=True) if one.shape != latents[0].shape), None)
        if other is not None:
            raise TrainingError(
                f"The clips of a batch must be alike in size, but that of {str(other['prompt'])[:50]!r} is not like "
                "the first: cut or resize it, or set per_device_train_batch_size to 1."
            )
        return torch.stack(list(latents)).to(self._device)


def _key(clip: Any) -> str:
    return blake2b(clip.tobytes()).hexdigest() if isinstance(clip, np.ndarray) else str(clip)


def read_frames(clip: Any) -> tuple[np.ndarray, float | None]:
    """Return frames `uint8[T,H,W,3]` of an array or a file, and the file's rate in fps; None for an array.

    Raises TrainingError with the full path for a file that is missing, damaged or no video.
    """
    if isinstance(clip, np.ndarray):
        return clip, None
    path = Path(clip)
    if not path.is_file():
        raise TrainingError(f"There is no clip file {path}: it was moved or deleted since the pair was made.")
    try:
        found = read_lossless(path) if path.suffix == ".mkv" else read_video(path)
    except MediaError as error:
        raise TrainingError(f"The clip {path} cannot be read: {error}") from error
    return found[0], found[1]


def resample(frames: np.ndarray, fps: float, wanted: float) -> np.ndarray:
    """Return the frames nearest to the times k / `wanted`, for a lower rate `wanted` <= `fps`."""
    places = np.floor(np.arange(resampled_length(len(frames), fps, wanted)) * (fps / wanted) + 0.5).astype(int)
    return frames[np.minimum(places, len(frames) - 1)]


def resampled_length(frames: int, fps: float, wanted: float) -> int:
    """Return the number of frames of a clip at a lower rate."""
    return 1 + math.floor((frames - 1) * wanted / fps + 1e-9)


def decoded_clips(rows: Sequence[Mapping[str, Any]]) -> dict[str, Stored | str]:
    """Return what each clip of the rows is, or why it cannot be decoded completely. Reads every file once."""
    clips = {_key(row[side]): row[side] for row in rows for side in SIDES if row.get(side) is not None}
    with ThreadPoolExecutor(max_workers=READERS) as readers:
        return dict(zip(clips, readers.map(_decoded, clips.values()), strict=True))


Rows = Sequence[Mapping[str, Any]]


def readable_rows(rows: Rows, *, skip: bool) -> tuple[Rows, dict[str, Stored]]:
    """Return the rows whose clips can be read, and what their clips are.

    Raises TrainingError for unreadable clips, unless `skip` is set, which logs a warning; and when no row remains.
    """
    clips = decoded_clips(rows)
    bad = {clip: found for clip, found in clips.items() if isinstance(found, str)}
    stored = {clip: found for clip, found in clips.items() if not isinstance(found, str)}
    if not bad:
        return rows, stored
    first, why = next(iter(bad.items()))
    if not skip:
        raise TrainingError(
            f"{len(bad)} of the clips cannot be read, such as {first}. {why} Replace or remove their pairs, or set "
            "skip_damaged to true to leave them out."
        )
    left = [row for row in rows if not any(row.get(side) is not None and _key(row[side]) in bad for side in SIDES)]
    log.warning("%d of %d pairs are left out, their clips cannot be read: %s", len(rows) - len(left), len(rows), bad)
    if not left:
        raise TrainingError(f"No pair is left: none of the clips can be read, such as {first}. {why}")
    return left, stored


def _decoded(clip: Any) -> Stored | str:
    try:
        frames, fps = read_frames(clip)
    except TrainingError as error:
        return str(error)
    num_frames, height, width = frames.shape[:3]
    return (num_frames, height, width), fps
