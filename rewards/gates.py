"""What no clip may buy a high score with: standing still, blur, hard cuts, loops. And what the prompt wishes about it.

Each gate is 1 for a clip that has nothing to hide and falls smoothly to 0. Stability rewards multiply their value by
the motion gate themselves (a frozen clip is perfectly stable and worthless); a mix multiplies its total by all four,
each with the strength that its preset gives. "Still" in the prompt opens the motion gate, "loop" the loop gate.

    motion      share of time in which the fastest 5 % move: VBench's dynamic_degree (arXiv:2311.17982) made continuous
    sharpness   how much a small blur would still take away from the edges (Crete et al. 2007, doi:10.1117/12.702790)
    cut         the worst step that flow cannot explain and that stands out from the rest of the clip
    loop        the same pictures again (rewards/repetition.py): good ones, repeated, would else pay for ever
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.flow import contrast_axis, to_gray
from rewards.repetition import LEAST_FRAMES, REPEATS, find_repetition
from rewards.series import smoothstep, soften

SPEED_PX_S = (4.0, 24.0)  # px of 256 a second: nothing moves .. moves (VBench's own threshold is 48, a yes or no)
MOVING_SHARE = 0.5  # moving half of the time is moving
SHARPNESS = (0.08, 0.30)  # measured: real 0.40..0.65, blurred by 3 px of 256 0.03..0.09, rendered shapes 0.35..0.55
SHARPNESS_PX = 256  # larger pictures are reduced to this short side first; none is enlarged
CUT_UNEXPLAINED = (0.70, 0.95)
CUT_PROMINENCE = (0.15, 0.35)
LEAST_MOTION = 0.05  # of the motion gate: what does not move repeats nothing
EDGE_LEVELS = 1.0  # mean gradient under which a picture has no edges to judge

STILL = re.compile(
    r"\b(stand(s|ing)? still|stay(s|ing)? still|completely still|perfectly still|motionless|unmoving|stationary"
    r"|still (life|shot|image|photo|picture|frame)|static (shot|image|scene|picture)|frozen in (place|time)"
    r"|freeze[- ]frame)\b",
    re.IGNORECASE,
)
LOOP = re.compile(
    r"\b(looping|looped|seamless(ly)? loops?|(perfect|endless|infinite) loop|(in|on) a loop"
    r"|loops? (forever|endlessly)|cinemagraph)\b",
    re.IGNORECASE,
)
NEGATION = re.compile(
    r"\b(not|no|never|without|non|isn't|doesn't|avoid)[\s-]+(a |an |any |be |is |ever )?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the prompt asks for."""

    still: bool
    loop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Each in 0..1; 1 lets everything through."""

    motion: float
    sharpness: float
    cut: float
    loop: float

    def to_dict(self) -> dict[str, float]:
        return {"motion": self.motion, "sharpness": self.sharpness, "cut": self.cut, "loop": self.loop}


def read_wishes(prompt: str) -> Wishes:
    """Whether the prompt asks for a still picture or for a loop; a negation right before the word turns it off."""
    return Wishes(still=_asks(STILL, prompt), loop=_asks(LOOP, prompt))


def measure_gates(features: ClipFeatures) -> Gates:
    """All gates of one clip."""
    return Gates(
        motion=motion_gate(features),
        sharpness=sharpness_gate(features),
        cut=cut_gate(features),
        loop=loop_gate(features),
    )


def motion_gate(features: ClipFeatures) -> float:
    """1 when the clip moves at least half of the time, or when the prompt wants it still; 0 when it is frozen."""
    if read_wishes(features.clip.prompt).still:
        return 1.0
    return motion(features)


def motion(features: ClipFeatures) -> float:
    """The same without regard to the prompt. A clip of one frame does not move."""
    if not len(features.speed):
        return 0.0
    return min(1.0, float(smoothstep(features.speed, *SPEED_PX_S).mean()) / MOVING_SHARE)


def sharpness_gate(features: ClipFeatures) -> float:
    """0 for a clip blurred by about 3 px of 256; 1 for a sharp one and where there are no edges to judge."""
    measured = sharpness(features)
    return 1.0 if measured is None else soften(measured, *SHARPNESS)


def sharpness(features: ClipFeatures) -> float | None:
    """What a blur of 5 px takes away from the gradients, 0..1, median over up to 16 frames; None without edges."""
    return features.once("sharpness", lambda: _measure_sharpness(features.clip.frames))


def cut_gate(features: ClipFeatures) -> float:
    """0 when there is a hard cut anywhere."""
    series = cut_series(features)
    return 1.0 - float(series.max()) if len(series) else 1.0


def cut_series(features: ClipFeatures) -> np.ndarray:
    """`float64[T-1]` in 0..1: how surely the step from t to t+1 is a hard cut."""
    steps = features.unexplained
    if not len(steps):
        return steps
    return smoothstep(steps, *CUT_UNEXPLAINED) * smoothstep(steps - np.median(steps), *CUT_PROMINENCE)


def loop_gate(features: ClipFeatures) -> float:
    """0 when the same pictures come again, unless the prompt wants a loop; 1 for a clip too short or still to tell."""
    clip = features.clip
    if clip.num_frames < LEAST_FRAMES or motion(features) < LEAST_MOTION or read_wishes(clip.prompt).loop:
        return 1.0
    return 1.0 - soften(find_repetition(features).similarity, *REPEATS)


def _asks(wish: re.Pattern[str], prompt: str) -> bool:
    return any(not NEGATION.search(prompt[: found.start()]) for found in wish.finditer(prompt))


def _measure_sharpness(frames: np.ndarray) -> float | None:
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 16).astype(int))]
    known = [s for s in map(frame_sharpness, chosen) if s is not None]
    return float(np.median(known)) if known else None


def frame_sharpness(frame: np.ndarray) -> float | None:
    """What a blur of 5 px takes away from the gradients of `uint8[H,W,3]`, 0..1; None without edges."""
    gray = contrast_picture(frame)
    levels = gray.astype(np.float32)
    before = after = 0.0
    for axis, kernel in ((0, (1, 5)), (1, (5, 1))):
        before += float((np.diff(levels, axis=axis) ** 2).sum())
        after += float((np.diff(cv2.blur(levels, kernel), axis=axis) ** 2).sum())
    if before < EDGE_LEVELS * gray.size:
        return None
    return 1.0 - float(np.sqrt(after / before))


def contrast_picture(frame: np.ndarray) -> np.ndarray:
    """`uint8[H,W]`, the short side at most 256 px, along the colours' axis of most contrast.

    In luma an orange shape on a grey ground of the same brightness would have no edges.
    """
    scale = SHARPNESS_PX / min(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    return np.asarray(to_gray(small[None], contrast_axis(small[None]))[0])
