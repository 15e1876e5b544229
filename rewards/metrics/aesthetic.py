"""Aesthetic: do single frames look good?

measures    every 8th frame is rated by the back end; raw = 0.7 mean + 0.3 worst, less up to a half when the colours'
            saturation drifts from beginning to end (the "HDR" look that predictors reward).
            "technical" is a substitute without weights, named as such in the result: the weighted geometric mean of
            sharpness (what a small blur removes), cleanness (noise in the smoothest blocks), contrast, exposure and
            colourfulness, less up to a half for interlacing combs and for grids (rewards/vision/raster.py). Sharpness,
            contrast and colour are full at the level of soft, flat and pale films, so exaggerating them gains nothing.
            It measures blur, noise, overexposed and grey pictures, combs and grids, but not beauty.
source      sharpness: Crete et al. 2007, doi:10.1117/12.702790; noise: Immerkaer 1996, doi:10.1006/cviu.1996.0060;
            colourfulness: Hasler & Suesstrunk 2003, doi:10.1117/12.477378; VBench's aesthetic_quality
            (arXiv:2311.17982) takes the mean alone, under which one ugly frame vanishes
range       raw: 0 to 1 for "technical"; 1 to 10 for a learned predictor; higher is better
back ends   `aesthetic`: "technical" (default); "laion", LAION's predictor on CLIP ViT-L/14
            (rewards/networks/laion_aesthetic.py); neither replaces the other
licence     technical: no weights; LAION's head: MIT; CLIP ViT-L/14: MIT
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rewards.differentiable import Differentiable
from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.gates import SHARPNESS, contrast_picture, frame_sharpness
from rewards.import_object import import_object
from rewards.networks import laion_aesthetic
from rewards.spec import RewardResult, RewardSpec
from rewards.time_series import smoothstep_value
from rewards.vision.raster import raster_share

if TYPE_CHECKING:
    from torch import Tensor

SPEC = RewardSpec(
    key="aesthetic",
    title="Aesthetic",
    question="Do single frames look good?",
    unit="rating",
    low=0.0,
    high=1.0,
    needs=(),
    per_frame=True,
    source="Technical quality (sharpness, noise, contrast, exposure, colour); VBench, arXiv:2311.17982",
)
BACKENDS = {
    "technical": "rewards.metrics.aesthetic:technical_quality",
    "laion": "rewards.networks.laion_aesthetic:rate",
}
"""Name to "module:function"; the function takes the features and frame numbers and returns one raw rating a frame,
NaN for a frame without anything to rate."""
PREPARES = {"laion": "rewards.networks.laion_aesthetic:prepare"}
"""The back ends with a part that is faster for a group of clips at once."""

EVERY_FRAMES = 8
SIDE_PX = 256
NOISE_LEVELS, CONTRAST_LEVELS = (8.0, 0.5), (10.0, 60.0)
CLIPPED_SHARE, COLOURFUL = (0.5, 0.02), (1.0, 15.0)
DRIFT_LEVELS = (15.0, 60.0)
WEIGHTS = {"sharpness": 0.30, "cleanness": 0.30, "contrast": 0.15, "exposure": 0.15, "colour": 0.10}
LEAST = 0.02  # no single part may reduce the product to 0

Rate = Callable[[ClipFeatures, np.ndarray], np.ndarray]


def prepare(group: Sequence[ClipFeatures]) -> None:
    """Run a learned back end on the frames of all clips together."""
    chosen = {features.backend(SPEC.key, "technical") for features in group}
    for backend in sorted(chosen & PREPARES.keys()):
        import_object(PREPARES[backend])(group)


def differentiable(backends: Mapping[str, str]) -> Differentiable | None:
    """Return the rating of LAION's predictor; None for the back end "technical".

    The drift of colours is left out.
    """
    if backends.get(SPEC.key) != "laion":
        return None

    def raw(frames: "Tensor", prompts: Sequence[str]) -> "Tensor":
        rated = laion_aesthetic.rate_pixels(frames[:, ::EVERY_FRAMES])
        return 0.7 * rated.mean(1) + 0.3 * rated.amin(1)

    return Differentiable(raw=raw, measurement=f"{SPEC.key}.laion")


def score(features: ClipFeatures) -> RewardResult:
    """Score any clip."""
    clip = features.clip
    chosen = np.arange(0, clip.num_frames, EVERY_FRAMES)
    backend = features.backend(SPEC.key, "technical")
    rated = _rater(backend)(features, chosen)
    # A clip of uniform frames has the worst rating instead of none, so that a model that collapses to grey loses.
    ratings = rated[np.isfinite(rated)] if np.isfinite(rated).any() else np.zeros(1)
    drift = saturation_drift(clip.frames[chosen])
    penalty = 1 - 0.5 * smoothstep_value(drift, *DRIFT_LEVELS)
    raw = float(0.7 * ratings.mean() + 0.3 * ratings.min()) * penalty
    measurement = f"{SPEC.key}.{backend}"
    series = np.full(clip.num_frames, np.nan)
    series[chosen] = features.calibration.map(measurement, rated)
    return RewardResult(
        value=features.calibration.map(measurement, raw),
        raw=raw,
        backend=backend,
        confidence=0.5 if backend == "technical" else 1.0,
        per_frame=series,
        details={"saturation_drift": drift, "rated_frames": float(np.isfinite(rated).sum())},
    )


def technical_quality(features: ClipFeatures, chosen: np.ndarray) -> np.ndarray:
    """Return ratings `float64[N]` in 0..1, NaN for a frame without any edge."""
    frames = features.clip.frames[chosen]
    return np.array([_quality(_reduced(frame)) * (1 - 0.5 * raster_share(frame)) for frame in frames])


def quality_parts(frame: np.ndarray) -> dict[str, float]:
    """Rate sharpness, cleanness, contrast, exposure and colour of `uint8[H,W,3]`, each 0..1.

    Sharpness is NaN without edges.
    """
    gray, luma = contrast_picture(frame), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(gray, (2, 98))
    exposure = smoothstep_value(float(((luma <= 3) | (luma >= 252)).mean()), *CLIPPED_SHARE)
    return {
        "sharpness": _sharpness(frame_sharpness(frame), exposure),
        "cleanness": smoothstep_value(noise_levels(luma), *NOISE_LEVELS),
        "contrast": smoothstep_value(float(high - low), *CONTRAST_LEVELS),
        "exposure": exposure,
        "colour": smoothstep_value(colourfulness(frame), *COLOURFUL),
    }


def _sharpness(measured: float | None, exposure: float) -> float:
    """Return NaN for an empty picture, and 0 for an overexposed or black one, which lost its edges."""
    if measured is None:
        return 0.0 if exposure == 0 else float("nan")
    return smoothstep_value(measured, *SHARPNESS)


def noise_levels(gray: np.ndarray) -> float:
    """Return the standard deviation of noise in `uint8[H,W]`, in grey levels.

    It is measured in the smoothest fifth of the 8x8 blocks.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(gray.astype(np.float32), cv2.CV_32F, kernel))
    size = (max(1, gray.shape[1] // 8), max(1, gray.shape[0] // 8))
    blocks = cv2.resize(response, size, interpolation=cv2.INTER_AREA).ravel() * np.sqrt(np.pi / 2) / 6
    return float(np.sort(blocks)[: max(1, blocks.size // 5)].mean())


def colourfulness(frame: np.ndarray) -> float:
    """Return Hasler & Suesstrunk's M: 0 grey, 15 slightly, 45 quite, 80 and more extremely colourful."""
    red, green, blue = (frame[..., c].astype(np.float32) for c in range(3))
    opponent = (red - green, (red + green) / 2 - blue)
    spread, mean = (np.hypot(*measured) for measured in ([o.std() for o in opponent], [o.mean() for o in opponent]))
    return float(spread + 0.3 * mean)


def saturation_drift(frames: np.ndarray) -> float:
    """Return the change of mean saturation from the first to the last quarter of the clip, in levels.

    Saturation is max - min over the channels.
    """
    saturation = np.array([float((f.max(axis=-1) - f.min(axis=-1)).mean()) for f in frames])
    quarter = max(1, len(saturation) // 4)
    return float(abs(saturation[-quarter:].mean() - saturation[:quarter].mean()))


def _rater(backend: str) -> Rate:
    if backend not in BACKENDS:
        raise RewardError(f"There is no aesthetic back end {backend!r}; known are {', '.join(sorted(BACKENDS))}.")
    rate: Rate = import_object(BACKENDS[backend])
    return rate


def _quality(frame: np.ndarray) -> float:
    parts = quality_parts(frame)
    logs = [weight * np.log(np.maximum(parts[name], LEAST)) for name, weight in WEIGHTS.items()]
    return float(np.exp(sum(logs)))


def _reduced(frame: np.ndarray) -> np.ndarray:
    """Return the frame with a short side of at most 256 px."""
    scale = SIDE_PX / min(frame.shape[:2])
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
