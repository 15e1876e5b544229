"""Loop break: does the clip continue, or does it repeat the same pictures (a loop, a to-and-fro)?

measures    the energy-weighted cosine between changes (differences of neighbouring thumbnails) of the clip and of the
            clip itself played at other speeds, forward and backward, with any offset (rewards/vision/repetition.py).
            Thumbnails are normalised in brightness and contrast, so flicker is no loop. Walking or waves are periodic
            but not pixel by pixel: only a cosine near 1 counts.
            value = 1 - repetition (mapped), not applicable when nothing moves. Where the prompt asks for a loop,
            value = the higher one of the repetition and of the match between last and first frame, x motion.
source      recurrence in self-similarity matrices (Cutler & Davis 2000, doi:10.1109/34.868681)
range       raw: 0 (never the same again) to 1 (the same pictures again); the value is flipped
back ends   numpy
licence     no weights
"""

import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import LEAST_MOTION, motion, prompt_intent
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import smoothstep, smoothstep_value
from rewards.vision.repetition import LEAST_FRAMES, REPEATS, SHORTEST_FRAMES, Repetition, find_repetition, thumbnails

SPEC = RewardSpec(
    key="loop_break",
    title="Loop break",
    question="Does the clip continue instead of repeating itself (or loop, where the prompt asks for a loop)?",
    unit="similarity of the best repetition",
    low=1.0,
    high=0.0,
    needs=("thumbnails",),
    per_frame=True,
    source="Self-similarity of frame differences; Cutler & Davis 2000, doi:10.1109/34.868681",
)
JOINS = (3.0, 1.5)  # step from last to first frame, in median steps: a jump .. a step like any other


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 17 frames (twice 8 steps) with motion."""
    clip, moving = features.clip, motion(features)
    if clip.num_frames < LEAST_FRAMES:
        return not_applicable(f"A repetition needs at least {LEAST_FRAMES} frames, but the clip has {clip.num_frames}.")
    wanted = prompt_intent(features).loop
    if moving < LEAST_MOTION and not wanted:
        return not_applicable("Nothing moves, so no repetition can be measured.", motion=moving)
    found = find_repetition(features)
    joined = join_quality(features)
    repeats = smoothstep_value(found.similarity, *REPEATS)
    return RewardResult(
        value=max(repeats, joined) * moving if wanted else 1 - repeats,
        raw=found.similarity,
        confidence=min(1.0, clip.num_frames / (4 * SHORTEST_FRAMES)),
        per_frame=None if wanted else _per_frame(thumbnails(features), found),
        details={
            "lag_frames": float(np.median(np.abs(found.second - found.first))),
            "speed": found.speed,
            "mirrored": float(found.mirrored),
            "join": joined,
            "loop_wanted": float(wanted),
        },
    )


def join_quality(features: ClipFeatures) -> float:
    """Return 1 when the step from the last frame to the first is at most 1.5 median steps, 0 from 3 on."""
    small = thumbnails(features)
    steps = np.linalg.norm(np.diff(small, axis=0), axis=1)
    typical = float(np.median(steps))
    return smoothstep_value(float(np.linalg.norm(small[0] - small[-1])) / max(typical, 1e-3), *JOINS)


def _per_frame(small: np.ndarray, found: Repetition) -> np.ndarray:
    """Return `float64[T]`: 1 less the similarity of the step into a frame and its pair in the repetition."""
    changes = np.diff(small, axis=0)
    mine, other = changes[found.second - 1], changes[found.first - 1]
    sign = -1.0 if found.mirrored else 1.0
    cosine = sign * (mine * other).sum(1) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(other, axis=1) + 1e-6)
    values = np.full(len(small), np.nan)
    values[found.second] = 1 - smoothstep(cosine, *REPEATS)
    return values
