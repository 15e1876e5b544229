"""Temporal LPIPS: does every frame look like the one before, after motion compensation?

measures    LPIPS between frame t and frame t+1 warped back to it, averaged over the pixels that both show. Pixels
            hidden in frame t+1 are filled from frame t, so that they do not change their neighbours' features. In a
            fade (rewards/vision/fades.py) both pictures are compared at the brightness of the darker one; flicker
            counts.
            value = distance (mapped) x motion gate x sharpness gate x visible share (in full from 40 %): a frozen clip
            has distance 0, a blurred one nearly, and in noise nearly no pixel is visible again.
source      LPIPS: Zhang et al. 2018, arXiv:1801.03924; warping as in Lai et al. 2018, arXiv:1808.00449
range       raw: distance, half mean and half worst tenth over time; 0 (the same) to about 0.4 (unrelated noise) with
            AlexNet; lower is better, the value is flipped
back ends   `lpips` of the mix: "alex" (the package's AlexNet), "mini" (the embedded network's maps)
licence     LPIPS BSD-2-Clause, AlexNet BSD-3-Clause (torchvision), mini Apache-2.0
"""

import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import motion_gate, sharpness_gate
from rewards.networks.perceptual import open_perceptual
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time, smoothstep_value, steps_to_frames
from rewards.vision.fades import fade_gains, without_fade

SPEC = RewardSpec(
    key="t_lpips",
    title="Temporal LPIPS",
    question="Does each frame look like the one before, moved to where things are now?",
    unit="LPIPS",
    low=0.2,
    high=0.0,
    needs=("flow", "visible", "warped", "lpips"),
    per_frame=True,
    licence="LPIPS BSD-2-Clause; AlexNet BSD-3-Clause; mini Apache-2.0",
    source="Zhang et al. 2018, arXiv:1801.03924; Lai et al. 2018, arXiv:1808.00449",
)
BACKEND, DEFAULT = "lpips", "alex"
ENOUGH_VISIBLE = (0.1, 0.4)  # too little to compare .. enough to represent the clip
HOT = 0.5  # the distance that is painted fully red


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 2 frames. Raises RewardUnavailable without the back end's weights."""
    clip = features.clip
    if clip.num_frames < 2:
        return not_applicable("Change over time needs at least 2 frames, but the clip has 1.")
    name = features.backend(BACKEND, DEFAULT)
    measurement = f"{SPEC.key}.{name}"
    steps, seen = visible_distance(features), features.visible.mean(axis=(1, 2))
    raw = over_time(steps, worst="high")
    if raw is None:
        return not_applicable("No two neighbouring frames show the same things, so there is nothing to compare.")
    share = float(seen.mean())
    gates = motion_gate(features), sharpness_gate(features), smoothstep_value(share, *ENOUGH_VISIBLE)
    return RewardResult(
        value=features.calibration.map(measurement, raw) * float(np.prod(gates)),
        raw=raw,
        backend=name,
        confidence=share,
        per_frame=steps_to_frames(features.calibration.map(measurement, steps), clip.num_frames),
        details={"visible_share": share, "motion_gate": gates[0], "sharpness_gate": gates[1]},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `difference`: the darkened frame, red where the next one differs, blue where hidden in it."""
    if features.clip.num_frames < 2:
        return {}
    painted = (features.frames * 0.4).astype(np.uint8)
    for t, (distances, seen) in enumerate(zip(distance_maps(features), features.visible, strict=True)):
        heat = np.clip(distances / HOT, 0, 1)[..., None]
        warm = painted[t] * (1 - heat) + heat * np.array((255, 60, 30))
        painted[t] = np.where(seen[..., None], warm, painted[t] + np.array((0, 0, 90))).astype(np.uint8)
    painted[-1] = painted[-2]
    return {"difference": painted}


def visible_distance(features: ClipFeatures) -> np.ndarray:
    """Return `float64[T-1]`: mean distance over the visible pixels of each step, NaN where there are none."""
    maps, seen = distance_maps(features), features.visible
    total = np.einsum("nhw,nhw->n", maps, seen, dtype=np.float64)
    count = seen.sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def distance_maps(features: ClipFeatures) -> np.ndarray:
    """Return distances `float32[T-1,h,w]` of frame t from frame t+1 warped back, at analysis size; shared."""
    return features.once(BACKEND, lambda: _compare(features))


def _compare(features: ClipFeatures) -> np.ndarray:
    compare = open_perceptual(features.backend(BACKEND, DEFAULT))
    here = features.frames[:-1]
    there = np.where(features.visible[..., None], features.warped, here)
    faded = np.flatnonzero(fade_gains(features) != 1)
    if faded.size:
        here = here.copy()
        for t in faded:
            here[t], there[t] = without_fade(here[t], there[t], fade_gains(features)[t])
    return compare(here, there)
