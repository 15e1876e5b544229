"""Loop break: does the clip go on, or does it run the same pictures again (a loop, a to-and-fro)?

measures    S(L), the energy-weighted cosine between changes (differences of neighbouring thumbnails) L frames apart,
            for L of 8 frames to 5 s, as prominence over the lags around it; and M(c), the same for changes mirrored in
            time about frame c with the sign turned, which finds a ping-pong. Thumbnails have their brightness and
            contrast taken out, so flicker is no loop. Walking or waves are periodic but not pixel by pixel: only S near
            1 counts. value = 1 - repetition (mapped), not applicable when nothing moves. Where the prompt asks for a
            loop, it is turned round: the better of the repetition and of how well the last frame leads back to the
            first, x motion.
source      recurrence in self-similarity matrices (Cutler & Davis 2000, doi:10.1109/34.868681)
range       raw: 0 (never the same again) to 1 (the same pictures again); the value is flipped
back ends   numpy
licence     no weights
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.base import RewardResult, RewardSpec, not_applicable
from rewards.features import ClipFeatures
from rewards.gates import motion, read_wishes
from rewards.series import smoothstep, soften

SPEC = RewardSpec(
    key="loop_break",
    title="Loop break",
    question="Does the clip go on instead of running the same pictures again (or loop, where the prompt wants a loop)?",
    unit="similarity of the best repetition",
    low=1.0,
    high=0.0,
    needs=("thumbnails",),
    per_frame=True,
    source="Self-similarity of frame differences; Cutler & Davis 2000, doi:10.1109/34.868681",
)
SHORTEST_FRAMES = 8
LONGEST_S = 5.0
THUMB_PX = 32
# Films stay under 0.55, a shape that goes round in circles under 0.83 even when blurred; the same pictures again
# measure 0.97 to 1.
REPEATS = (0.82, 0.95)
JOINS = (3.0, 1.5)  # step from last to first frame, in median steps: a jump .. a step like any other
LEAST_MOTION = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The strongest repetition found. `similarity` 0..1; `frames` is the lag, or the turning point if `mirrored`."""

    similarity: float
    frames: int
    mirrored: bool


def score(features: ClipFeatures) -> RewardResult:
    """Needs 17 frames (twice 8 steps) in which something moves."""
    clip, moving = features.clip, motion(features)
    if clip.num_frames < 2 * SHORTEST_FRAMES + 1:
        return not_applicable(
            f"A repetition needs at least {2 * SHORTEST_FRAMES + 1} frames, but the clip has {clip.num_frames}."
        )
    changes = thumbnail_changes(features)
    if moving < LEAST_MOTION and not read_wishes(clip.prompt).loop:
        return not_applicable("Nothing moves, so nothing can be told to repeat.", motion=moving)
    found = strongest_repetition(changes, clip.fps)
    joined = join_quality(features)
    repeats = soften(found.similarity, *REPEATS)
    wanted = read_wishes(clip.prompt).loop
    return RewardResult(
        value=max(repeats, joined) * moving if wanted else 1 - repeats,
        raw=found.similarity,
        confidence=min(1.0, clip.num_frames / (4 * SHORTEST_FRAMES)),
        per_frame=None if wanted else _per_frame(changes, found, clip.num_frames),
        details={
            "lag_frames": float(found.frames),
            "mirrored": float(found.mirrored),
            "join": joined,
            "loop_wanted": float(wanted),
        },
    )


def thumbnail_changes(features: ClipFeatures) -> np.ndarray:
    """`float32[T-1,32*32]`: what changed between neighbouring thumbnails of equal brightness and contrast."""
    return features.once("thumbnail_changes", lambda: np.diff(thumbnails(features), axis=0))


def thumbnails(features: ClipFeatures) -> np.ndarray:
    """`float32[T,32*32]`: small gray pictures, mean 0, all with the clip's median contrast."""
    return features.once("thumbnails", lambda: _thumbnails(features.gray))


def strongest_repetition(changes: np.ndarray, fps: float) -> Repetition:
    """The best of all lags and of all turning points."""
    products = changes @ changes.T
    norms = np.sqrt(np.diagonal(products))
    sizes = np.outer(norms, norms) + 1e-6
    lag, repeated = _best_lag(products, sizes, fps)
    turn, mirrored = _best_turn(products, sizes)
    if mirrored > repeated:
        return Repetition(similarity=mirrored, frames=turn, mirrored=True)
    return Repetition(similarity=repeated, frames=lag, mirrored=False)


def join_quality(features: ClipFeatures) -> float:
    """1 when the step from the last frame to the first is like any other step, 0 when it is 6 times as large."""
    small = thumbnails(features)
    steps = np.linalg.norm(np.diff(small, axis=0), axis=1)
    typical = float(np.median(steps))
    return soften(float(np.linalg.norm(small[0] - small[-1])) / max(typical, 1e-3), *JOINS)


def _best_lag(products: np.ndarray, sizes: np.ndarray, fps: float) -> tuple[int, float]:
    """Lag in frames and its prominence: similarity, or less where the lags around are just as similar."""
    count = len(products)
    lags = np.arange(1, count - SHORTEST_FRAMES + 1)
    similar = np.array([np.diagonal(products, k).sum() / np.diagonal(sizes, k).sum() for k in lags])
    allowed = lags[(lags >= SHORTEST_FRAMES) & (lags <= max(SHORTEST_FRAMES, LONGEST_S * fps))]
    prominent = [min(similar[k - 1], similar[k - 1] - similar[k // 2 : k].min()) for k in allowed]
    best = int(np.argmax(prominent))
    return int(allowed[best]), float(np.clip(prominent[best], 0, 1))


def _best_turn(products: np.ndarray, sizes: np.ndarray) -> tuple[int, float]:
    """Frame at which time turns round, and how well what follows mirrors what came before."""
    count = len(products)
    best = (0, 0.0)
    for turn in range(SHORTEST_FRAMES, count - SHORTEST_FRAMES + 1):
        after = np.arange(min(turn, count - turn, 3 * SHORTEST_FRAMES))
        pairs = (turn - 1 - after, turn + after)
        mirrored = -float(products[pairs].sum() / sizes[pairs].sum())
        best = max(best, (turn, mirrored), key=lambda found: found[1])
    return best[0], float(np.clip(best[1], 0, 1))


def _per_frame(changes: np.ndarray, found: Repetition, num_frames: int) -> np.ndarray:
    """`float64[T]`: 1 - how much the step into a frame repeats the one that the repetition pairs it with."""
    steps = np.arange(len(changes))
    partner = 2 * found.frames - 1 - steps if found.mirrored else steps - found.frames
    known = (partner >= 0) & (partner < steps)
    mine, other = changes[steps[known]], changes[partner[known]]
    sign = -1.0 if found.mirrored else 1.0
    cosine = sign * (mine * other).sum(1) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(other, axis=1) + 1e-6)
    values = np.full(num_frames, np.nan)
    values[1 + steps[known]] = 1 - smoothstep(cosine, *REPEATS)
    return values


def _thumbnails(gray: np.ndarray) -> np.ndarray:
    sigma = min(gray.shape[1:3]) / THUMB_PX / 2
    small = np.stack(
        [
            cv2.resize(cv2.GaussianBlur(g, (0, 0), sigma), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
            for g in gray
        ]
    )
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    contrast = flat.std(axis=1, keepdims=True)
    return np.asarray(flat * (np.median(contrast) / np.maximum(contrast, 1.0)))
