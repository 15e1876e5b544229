"""Flow smoothness: do things move along smooth paths, or do they shake and wobble?

measures    acceleration along each trajectory, |f'(x + f) - f| / (|f| + |f'| + 1 px of 256), where f is the flow from
            t to t+1 and f' that from t+1 to t+2, over pixels that stay visible and have texture. Side term: roughness,
            the median |divergence| and |curl| of the flow after their own median is subtracted, so that a zoom, a roll
            or any other affine camera motion costs nothing. (Divergence divided by speed *rewards* a shaking camera.)
            Both series pass a median over three steps: one turn, as when a ball bounces, is no roughness.
            value = acceleration (mapped) x roughness (mapped) x motion gate
source      trajectory acceleration as in motion-smoothness work (VBench, arXiv:2311.17982, sec. 4); visibility by
            forward-backward check (Sundaram, Brox & Keutzer 2010, doi:10.1007/978-3-642-15549-9_32)
range       raw: acceleration 0 (uniform motion) to 1 (no relation between steps); lower is better, the value is flipped
back ends   the flow's: "dis" (CPU, no weights), "raft" (GPU)
licence     no weights of its own
"""

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import motion_gate
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time, running_median, steps_to_frames
from rewards.vision.flow import flow_picture

SPEC = RewardSpec(
    key="flow_smoothness",
    title="Flow smoothness",
    question="Do things move along smooth paths, without shaking or wobbling?",
    unit="acceleration relative to speed",
    low=1.0,
    high=0.0,
    needs=("flow", "visible", "texture", "acceleration"),
    per_frame=True,
    source="Trajectory acceleration of optical flow; VBench, arXiv:2311.17982",
)
ROUGHNESS = "flow_smoothness.roughness"
_SLOPE = np.array([[-0.5, 0, 0.5]], np.float32)  # central difference along x; transposed, along y (rows, downward)

WORST_ROUGHNESS = 1.0  # bent locally by 3 px, films measure 0.13


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 3 frames with texture to track."""
    clip = features.clip
    if clip.num_frames < 3:
        return not_applicable(f"Smooth motion needs at least 3 frames, but the clip has {clip.num_frames}.")
    accelerations, roughnesses = running_median(features.acceleration, 1), running_median(roughness(features), 1)
    raw, rough = over_time(accelerations, worst="high"), over_time(roughnesses, worst="high")
    if raw is None:
        return not_applicable("There is too little structure in the picture to follow any motion.")
    if rough is None:  # noise: there is texture, and next to nothing of it can be tracked
        rough, roughnesses = WORST_ROUGHNESS, np.full_like(roughnesses, WORST_ROUGHNESS)
    mapped = features.calibration.map(SPEC.key, raw) * features.calibration.map(ROUGHNESS, rough)
    steps = features.calibration.map(SPEC.key, accelerations) * features.calibration.map(ROUGHNESS, roughnesses[1:])
    gate = motion_gate(features)
    return RewardResult(
        value=mapped * gate,
        raw=raw,
        backend=features.flow_name,
        confidence=float(features.visible_share.mean()),
        per_frame=steps_to_frames(steps, clip.num_frames),
        details={"roughness": rough, "motion_gate": gate, "speed": float(features.speed.mean())},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `flow`: hue is the direction, saturation the speed; the last frame repeats the one before."""
    if features.clip.num_frames < 2:
        return {}
    painted = flow_picture(features.flow[0])
    return {"flow": np.concatenate([painted, painted[-1:]])}


def roughness(features: ClipFeatures) -> np.ndarray:
    """Return `float64[T-1]`: median |div| + median |curl| of every step about their own medians; no unit."""
    rough = np.full(len(features.flow[0]), np.nan)
    for t, flow in enumerate(features.flow[0]):
        followed = features.visible[t] & (features.texture[t] > 0.3)
        if features.can_follow(t, float(followed.sum())):
            slopes_x, slopes_y = (cv2.filter2D(flow, cv2.CV_32F, kernel) for kernel in (_SLOPE, _SLOPE.T))
            divergence = slopes_x[..., 0] + slopes_y[..., 1]
            curl = slopes_x[..., 1] - slopes_y[..., 0]
            rough[t] = _spread(divergence[followed]) + _spread(curl[followed])
    return rough


def _spread(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))
