"""Seam: are the joints of generation windows visible?

measures    five series over time: area that flow cannot explain, acceleration, change of pace, distance of colour and
            edge histograms, distance of colour moments. At a seam each is in standard deviations (of its logarithm,
            robust) from the clip's own interior, because a lively clip may jump more than a calm one; median and spread
            of the interior are limited to the range of real clips, so that a clip that jumps everywhere hides nothing.
            The five are joined by back end "z" (root mean square of the positive parts) or "critic" (a small network
            trained on artificial seams, `tools/rewards/train_seam_critic.py`). The jumps that the clip makes nearby
            (their 80th percentile, limited) are subtracted, so that in an uncut shot the place of a declared seam
            matters little. The worst seam counts. Seams are taken from the clip; where it has none and is longer than
            one window of 64 frames, the largest jump anywhere in it counts. Shorter clips have no seam: not applicable.
source      window lengths: 64 frames with 16 overlap; robust z-scores: Iglewicz & Hoaglin 1993
range       raw: z, about -3 to 10 standard deviations, or the critic's log-odds; lower is better, the value is flipped
back ends   "z" (no weights), "critic" (own weights, 2 kB, trained by this repository's script on procedural clips)
licence     Apache-2.0 (own weights)
"""

from collections.abc import Sequence

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.networks.frame_embedding import DEFAULT, open_embedder
from rewards.networks.seam_critic import critic_log_odds, open_critic
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.vision.fades import fade_gains, without_fade

SPEC = RewardSpec(
    key="seam",
    title="Seam",
    question="Do the windows of a long clip join without a visible seam?",
    unit="standard deviations",
    low=10.0,
    high=0.0,
    needs=("flow", "visible", "acceleration", "histograms"),
    per_frame=True,
    licence="Apache-2.0 (own critic, optional)",
    source="Robust z-scores against the clip's own interior; Iglewicz & Hoaglin 1993",
)
WINDOW_FRAMES = 64
NEAR_FRAMES = 2  # a blended seam shows within this distance
HIGHEST_Z = 10.0
BACKENDS = ("z", "critic")
NEARBY_FRAMES, NEARBY_SHARE = 24, 0.8
# The most that is subtracted. Where usual jumps exceed it, less is, so that a clip cannot hide a seam among jumps.
HIGHEST_NEARBY = {"z": 2.0, "critic": 4.0}
# Of the series unexplained, turn, pace, look and colour:
FLOOR = np.array([0.05, 0.05, 0.05, 0.005, 0.2])  # added before the logarithm: the level that counts as no change
# Of the logarithms, over the reference clips: the highest median, and the lowest and highest robust standard deviation,
# that an interior may claim.
HIGHEST_MEDIAN = np.array([-0.8, -0.8, -0.9, -4.9, 0.6])
LOWEST_SPREAD = np.array([0.15, 0.15, 0.40, 0.08, 0.20])
HIGHEST_SPREAD = np.array([0.60, 0.60, 1.20, 0.30, 1.20])


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip with known seams or more than 64 frames."""
    clip = features.clip
    seams = [s for s in clip.seams if 1 <= s < clip.num_frames]
    if not seams and clip.num_frames <= WINDOW_FRAMES:
        return not_applicable(
            f"A clip of {clip.num_frames} frames fits one window of {WINDOW_FRAMES}: there is no seam."
        )
    backend = features.backend(SPEC.key, "z")
    jumps = joined_jumps(features, seams, backend)
    places = seams or [int(np.argmax(jumps)) + 1]
    usual = [usual_jump(jumps, place, seams, backend) if seams else 0.0 for place in places]
    each = [_near(jumps, place) - level for place, level in zip(places, usual, strict=True)]
    measurement = SPEC.key if seams else f"{SPEC.key}.unknown"
    mapped = features.calibration.map(f"{measurement}.{backend}", jumps - max(usual))
    return RewardResult(
        value=features.calibration.map(f"{measurement}.{backend}", max(each)),
        raw=max(each),
        backend=backend,
        confidence=1.0 if seams else 0.5,
        per_frame=np.concatenate([[np.nan], mapped]),
        details={f"seam_{place}": jump for place, jump in zip(places, each, strict=True)},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `seams`: the frames, with a bar that turns red with the size of the jump into a frame."""
    jumps = joined_jumps(features, features.clip.seams, "z")
    painted = features.frames.copy()
    height = max(4, painted.shape[1] // 24)
    for frame, jump in zip(painted[1:], jumps, strict=True):
        level = min(1.0, jump / HIGHEST_Z)
        frame[:height] = (int(60 + 195 * level), int(60 * (1 - level)), 60)
    return {"seams": painted}


def joined_jumps(features: ClipFeatures, seams: Sequence[int], backend: str) -> np.ndarray:
    """Return `float64[T-1]`: the size of the jump into frame t+1, all five series together."""
    scores = jump_scores(features, seams)
    if backend == "critic":
        return critic_log_odds(open_critic(), scores)
    return joined_z(scores)


def joined_z(scores: np.ndarray) -> np.ndarray:
    """Return the root mean square of the positive parts of `float64[5,N]`."""
    return np.asarray(np.sqrt((np.maximum(scores, 0) ** 2).mean(axis=0)))


def jump_scores(features: ClipFeatures, seams: Sequence[int] = ()) -> np.ndarray:
    """Return `float64[5,T-1]`: each series in standard deviations from the interior, limited to 10.

    The interior are the steps that are not near `seams`.
    """
    logs = np.log(features.once("jump_series", lambda: jump_series(features)) + FLOOR[:, None])
    steps = np.arange(logs.shape[1])
    inside = np.all([np.abs(steps - (s - 1)) > NEAR_FRAMES for s in seams], axis=0) if seams else steps >= 0
    known = logs[:, inside if inside.any() else steps]
    middle = np.array([_median(row) for row in known])
    spread = 1.4826 * np.array([_median(np.abs(row - m)) for row, m in zip(known, middle, strict=True)])
    middle = np.minimum(middle, HIGHEST_MEDIAN)
    spread = np.clip(spread, LOWEST_SPREAD, HIGHEST_SPREAD)
    scores = (logs - middle[:, None]) / spread[:, None]
    return np.nan_to_num(np.clip(scores, -HIGHEST_Z, HIGHEST_Z), nan=0.0)


def jump_series(features: ClipFeatures) -> np.ndarray:
    """Return the raw series `float64[5,T-1]`; index i is the step from frame i to i+1.

    Values are NaN where nothing can be tracked.
    """
    look, colour = _picture_changes(features)
    first = [np.nan] * min(1, len(look))
    return np.stack(
        [
            features.unexplained,
            np.concatenate([first, features.acceleration]),
            np.concatenate([first, np.abs(np.diff(np.log(features.speed + 8)))]),
            look,
            colour,
        ]
    )


def _picture_changes(features: ClipFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Return distances of histograms and of colour moments, each `float64[T-1]`, without fades."""
    vectors, moments = features.histograms, _colour_moments(features.frames)
    look = 1 - (vectors[1:] * vectors[:-1]).sum(axis=1)
    colour = np.linalg.norm(np.diff(moments, axis=0), axis=1)
    for t in np.flatnonzero(fade_gains(features) != 1):
        first_frame, second_frame = features.frames[t : t + 2]
        pair = np.stack(without_fade(first_frame, second_frame, fade_gains(features)[t]))
        first, second = open_embedder(DEFAULT)(pair)
        look[t] = 1 - float(first @ second)
        colour[t] = np.linalg.norm(np.diff(_colour_moments(pair), axis=0))
    return np.maximum(look, 0), colour


def usual_jump(jumps: np.ndarray, seam: int, seams: Sequence[int], backend: str) -> float:
    """Return the usual jump near a seam but not at one.

    It is the 80th percentile of windows as long as those at a seam.
    """
    apart = 2 * NEAR_FRAMES + 1
    around = range(max(1, seam - NEARBY_FRAMES), min(len(jumps), seam + NEARBY_FRAMES) + 1)
    places = [place for place in around if all(abs(place - other) > apart for other in seams)]
    if not places:
        return 0.0
    usual = float(np.quantile([_near(jumps, place) for place in places], NEARBY_SHARE))
    highest = HIGHEST_NEARBY[backend]
    return usual if usual <= highest else max(0.0, 2 * highest - usual)


def _near(jumps: np.ndarray, seam: int) -> float:
    """Return the largest jump within 2 frames of the step into frame `seam`."""
    return float(jumps[max(0, seam - 1 - NEAR_FRAMES) : seam + NEAR_FRAMES].max())


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else 0.0


def _colour_moments(frames: np.ndarray) -> np.ndarray:
    """Return `float64[T,6]`: mean and standard deviation of L, a, b."""
    moments = []
    for frame in frames:
        small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        mean, deviation = cv2.meanStdDev(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))
        moments.append(np.concatenate([mean[:, 0], deviation[:, 0]]))
    return np.stack(moments)
