"""`Reading`: the content of a clip, each attribute with a graded fit in 0..1.

All attributes are measured by the world's own drawing rules (`engine.mini.world`); nothing is learned.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.mini import world
from engine.mini.judge_motion import loop_fit, motion_of
from engine.mini.judge_shapes import radius_of, shape_fit
from engine.mini.judge_tracks import (
    SubjectTrack,
    best_of,
    chroma_plane,
    find_tracks,
    hue_gap,
    hue_of,
    ramp,
    to_world_size,
)

MIN_SHAPE_FIT = 0.4  # below, the shape is None
MIN_PRESENCE = 0.25  # a thing that is visible in fewer of its frames is discarded
STEADY_PRESENCE = 0.6  # a subject that wraps round the edges is visible in more of its frames
LATE_FROM_FRAME = 6  # a subject first visible at or after this frame is late; the world's appear at frame 13


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSubject:
    """One subject in the clip. `shape` or `motion` is None when none fits.

    `colour` is the nearest of the world's; `confidence` 0..1; `presence` the share of frames, after its first, that
    show it; `radius_px` its median size. The fits map every shape, colour and motion to 0..1.
    """

    shape: str | None
    colour: str
    size: str
    motion: str | None
    late: bool
    steady: bool
    confidence: float
    presence: float
    radius_px: float
    shape_fit: dict[str, float]
    colour_fit: dict[str, float]
    motion_fit: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The content of a clip.

    `subjects` is ordered by covered area; `motion` is that of the early subjects. `loop` is None when the clip is too
    short to tell (no frame has one 16 frames later); `loop_fit` is its grade.
    """

    subjects: tuple[SeenSubject, ...]
    motion: str | None
    count: int
    late: bool
    loop: bool | None
    loop_fit: float
    background: str
    num_frames: int


def read(frames: np.ndarray) -> Reading:
    """Read a clip `uint8[T,H,W,3]` of any length.

    Noise and empty pictures give a reading without subjects.
    """
    frames = to_world_size(frames)
    tracks = [track for track in find_tracks(frames) if track.presence >= MIN_PRESENCE]
    subjects = tuple(_subject(track) for track in tracks)
    early = [subject for subject in subjects if not subject.late]
    returned = loop_fit([track for track in tracks if not _is_late(track)], len(frames))
    return Reading(
        subjects=subjects,
        motion=Counter(subject.motion for subject in early).most_common(1)[0][0] if early else None,
        count=len(subjects),
        late=any(subject.late for subject in subjects),
        loop=returned >= 0.5 if returned is not None else None,
        loop_fit=returned or 0.0,
        background=_background(frames),
        num_frames=len(frames),
    )


def _subject(track: SubjectTrack) -> SeenSubject:
    outline, quality = shape_fit(track)
    motion, motion_fit = motion_of(track)
    shape = best_of(outline, MIN_SHAPE_FIT)
    radius = radius_of(track, shape)
    return SeenSubject(
        shape=shape,
        colour=min(world.COLOURS, key=lambda name: float(hue_gap(track.hue_deg, hue_of(world.COLOURS[name])))),
        size=min(world.SIZES, key=lambda name: abs(world.SIZES[name] - radius)),
        motion=motion,
        late=_is_late(track),
        steady=track.presence >= STEADY_PRESENCE,
        confidence=quality * max(outline.values()) * track.presence,
        presence=track.presence,
        radius_px=radius,
        shape_fit={name: fit * quality for name, fit in outline.items()},
        colour_fit=_colour_fit(track.hue_deg),
        motion_fit=motion_fit,
    )


def _is_late(track: SubjectTrack) -> bool:
    return track.first_frame >= LATE_FROM_FRAME


def _colour_fit(hue_deg: float) -> dict[str, float]:
    """Return 1 within 8 degrees of a colour's hue, 0 from 28 degrees on.

    The two nearest hues of the world are 25 degrees apart.
    """
    gaps = {name: float(hue_gap(hue_deg, hue_of(rgb))) for name, rgb in world.COLOURS.items()}
    return {name: ramp(gap, 28, 8) for name, gap in gaps.items()}


def _background(frames: np.ndarray) -> str:
    """Return the background whose colours at the top and at the bottom are nearest to the clip's."""
    seen = _strips(frames)
    return min(world.BACKGROUNDS, key=lambda name: float(np.abs(_background_strips(name) - seen).sum()))


@cache
def _background_strips(name: str) -> np.ndarray:
    return _strips(world.render(world.Scene((), "still", name), 1))


def _strips(frames: np.ndarray) -> np.ndarray:
    """Return the median unsaturated colour at the top and bottom of at most 8 frames, `float[2,3]`."""
    some = frames[:: max(1, len(frames) // 8)]
    pale = np.linalg.norm(chroma_plane(some), axis=-1) < 60
    strips = []
    for rows in (slice(2, 16), slice(52, 62)):
        pixels = some[:, rows][pale[:, rows]]
        strips.append(np.median(pixels, axis=0) if len(pixels) else np.zeros(3))
    return np.array(strips)
