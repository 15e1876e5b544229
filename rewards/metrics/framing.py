"""Framing: is the subject well placed, inside the frame, held steady, and the horizon level?

measures    on every frame: distance from the subject's centre to the nearest power point of the thirds (or to the
            middle, when the prompt asks for a portrait, a close-up or symmetry), how far its box leaves the 90 % safe
            area, and how much the camera shakes (change of its shift from step to step, single turns removed); over
            the clip: how much the camera rolls (or, where nothing can be tracked, the angle of the horizon varies).
            raw = 0.35 thirds + 0.35 safe area + 0.15 steadiness + 0.15 horizon, renormalised where there is no horizon.
            Not applicable when no subject is found in at least half of the frames.
source      rule of thirds as a computable feature (Datta et al. 2006, doi:10.1007/11744078_23; Mai et al. 2011,
            doi:10.1109/ISM.2011.23); safe areas: SMPTE ST 2046-1 (action safe 90 %)
range       raw: 0 to 1; higher is better
back ends   "saliency" (no weights): the subject differs in colour from the border or moves against it
licence     no weights
"""

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.prompt_intent import wants_centre
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time, running_median, smoothstep, smoothstep_value
from rewards.vision.edges import canny
from rewards.vision.subject import Subjects, find_subjects

SPEC = RewardSpec(
    key="framing",
    title="Framing",
    question="Is the subject well placed and held inside the frame, with a level horizon?",
    unit="share of the rules kept",
    low=0.0,
    high=1.0,
    needs=("flow", "visible", "texture", "camera", "subjects"),
    per_frame=True,
    source="Rule of thirds, Datta et al. 2006, doi:10.1007/11744078_23; safe areas, SMPTE ST 2046-1",
)
POWER_POINTS = np.array([(x, y) for x in (1 / 3, 2 / 3) for y in (1 / 3, 2 / 3)])
THIRDS_DISTANCE = (0.40, 0.08)  # shares of the picture: far from every power point .. on one
SAFE_MARGIN = 0.05
OVERSHOOT = (0.15, 0.0)
SHAKE = (0.028, 0.010)  # shares of the short side a step; films stay under 0.004, rendered circles under 0.013
HORIZON_DEGREES = (6.0, 2.0)  # standard deviation over time
STEEPEST_DEGREES, HORIZON_SHARE = 30.0, 0.6
LEAST_KNOWN = 0.5  # of the steps or frames
LEAST_FOUND = 0.5
WEIGHTS = {"thirds": 0.35, "safe": 0.35, "steady": 0.15, "horizon": 0.15}


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip with a subject in at least half of the frames."""
    subjects = find_subjects(features)
    share = float(subjects.found.mean())
    if share < LEAST_FOUND:
        return not_applicable(f"No clear subject was found ({share:.0%} of the frames).", found_share=share)
    parts = frame_parts(subjects, centred=wants_centre(features.clip.prompt))
    parts["steady"] = smoothstep(camera_shake(features), *SHAKE)
    level = horizon_level(features)
    if level is not None:
        parts["horizon"] = np.full(len(subjects.boxes), level)
    series = _weighted(parts)
    raw = over_time(series, worst="low")
    if raw is None:
        return not_applicable("No clear subject was found.", found_share=share)
    return RewardResult(
        value=features.calibration.map(SPEC.key, raw),
        raw=raw,
        backend="saliency",
        confidence=share * float(subjects.confidence[subjects.found].mean()),
        per_frame=series,
        details={
            "found_share": share,
            **{name: float(np.nanmean(part)) for name, part in parts.items() if np.isfinite(part).any()},
        },
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `subject`: the box of the subject, the thirds and the safe area."""
    painted = features.frames.copy()
    height, width = painted.shape[1:3]
    scale = np.array([width, height, width, height])
    for frame, box in zip(painted, find_subjects(features).boxes, strict=True):
        for third in (1 / 3, 2 / 3):
            cv2.line(frame, (int(third * width), 0), (int(third * width), height), (200, 200, 200), 1)
            cv2.line(frame, (0, int(third * height)), (width, int(third * height)), (200, 200, 200), 1)
        margin = (int(SAFE_MARGIN * width), int(SAFE_MARGIN * height))
        cv2.rectangle(frame, margin, (width - margin[0], height - margin[1]), (90, 160, 255), 1)
        if np.isfinite(box[0]):
            x0, y0, x1, y1 = (int(v) for v in box * scale)
            cv2.rectangle(frame, (x0, y0), (x1, y1), (255, 200, 0), 2)
    return {"subject": painted}


def frame_parts(subjects: Subjects, *, centred: bool) -> dict[str, np.ndarray]:
    """Return `thirds` and `safe`, each `float64[T]` in 0..1, NaN without a subject."""
    centres, boxes = subjects.centres, subjects.boxes
    points = np.concatenate([POWER_POINTS, [[0.5, 0.5]]]) if centred else POWER_POINTS
    distance = np.linalg.norm(centres[:, None] - points[None], axis=-1).min(axis=1)
    outside = np.concatenate([SAFE_MARGIN - boxes[:, :2], boxes[:, 2:] - (1 - SAFE_MARGIN)], axis=1).max(axis=1)
    return {
        "thirds": smoothstep(distance, *THIRDS_DISTANCE),
        "safe": smoothstep(np.maximum(outside, 0), *OVERSHOOT),
    }


def camera_shake(features: ClipFeatures) -> np.ndarray:
    """Return `float64[T]`: change of the camera's shift, in shares of the short side; NaN at the ends."""
    shifts = features.camera[:, :2]
    shake = np.full(features.clip.num_frames, np.nan)
    if len(shifts) > 1:
        shake[1:-1] = running_median(np.linalg.norm(np.diff(shifts, axis=0), axis=1), 1)
    return shake


def horizon_level(features: ClipFeatures) -> float | None:
    """Return 1 when the camera keeps its angle, 0 when it rolls; None where neither can be measured.

    The roll of the camera is measured or, where nothing can be tracked, the angle of the horizon's line.
    """
    roll = features.camera[:, 2]
    if np.isfinite(roll).sum() >= max(1, LEAST_KNOWN * len(roll)):
        return smoothstep_value(float(np.nancumsum(roll).std()), *HORIZON_DEGREES)
    lines = features.once("horizon_angles", lambda: np.array([_horizon_degrees(g) for g in features.gray]))
    known = lines[np.isfinite(lines)]
    if len(known) < LEAST_KNOWN * len(lines):
        return None
    return smoothstep_value(1.4826 * float(np.median(np.abs(known - np.median(known)))), *HORIZON_DEGREES)


def _horizon_degrees(gray: np.ndarray) -> float:
    """Return the angle of the longest nearly level line across most of the picture; NaN without one."""
    edges = canny(cv2.GaussianBlur(gray, (0, 0), 1.5), 30, 60)
    width = gray.shape[1]
    lines = cv2.HoughLinesP(edges, 1, np.pi / 360, 40, minLineLength=HORIZON_SHARE * width, maxLineGap=width // 16)
    if lines is None:
        return float("nan")
    dx, dy = (lines.reshape(-1, 4).astype(np.float64) @ np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])).T
    angle = (np.degrees(np.arctan2(dy, dx)) + 90) % 180 - 90
    length = np.where(np.abs(angle) <= STEEPEST_DEGREES, np.hypot(dx, dy), 0.0)
    return float(angle[int(np.argmax(length))]) if length.any() else float("nan")


def _weighted(parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the mean of the parts by `WEIGHTS`, over those measured in a frame; NaN without a subject."""
    values = np.stack(list(parts.values()))
    weights = np.array([WEIGHTS[name] for name in parts])[:, None] * np.isfinite(values)
    mean = (np.nan_to_num(values) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)
    return np.where(np.isfinite(parts["thirds"]), mean, np.nan)
