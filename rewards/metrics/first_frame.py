"""First-frame fidelity: does the clip begin with the picture that it was given?

measures    frame 0 is compared with the given picture, cropped and resized as the model got it: multi-scale structural
            similarity of brightness (outlines, texture, contrast), times the agreement of colours that are blurred by
            6 px of 256, where a difference of 20 levels counts as exp(-1). Structure alone misses a cast of colour,
            colour alone a picture that has moved or lost its detail.
            value = similarity (mapped) x motion gate x (1 - the most certain hard cut within the first second): a still
            of the picture is the cheapest way to keep it, one frame of it before another scene the second.
            Not applicable to clips without a given first picture.
source      MS-SSIM: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216, five scales with its exponents
range       raw: 0 (another picture) to 1 (the same pixels); higher is better
back ends   the flow's, for the gates alone
licence     no weights
"""

import cv2
import numpy as np

from rewards.features import REFERENCE_PX, ClipFeatures, to_analysis_size
from rewards.gates import cut_series, motion_gate
from rewards.spec import RewardResult, RewardSpec, not_applicable

SPEC = RewardSpec(
    key="first_frame",
    title="First-frame fidelity",
    question="Does the clip begin with the picture that it was given?",
    unit="similarity to the given picture",
    low=0.0,
    high=1.0,
    needs=("flow", "unexplained", "speed"),
    source="MS-SSIM, Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216",
)
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first
WINDOW_PX, WINDOW_SIGMA = 11, 1.5
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)  # of brightness and of contrast
COLOUR_SIGMA_PX, COLOUR_LEVELS = 6.0, 20.0  # px of 256; grey levels
CUT_SECONDS = 1.0


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 2 frames that was made from a first picture."""
    clip = features.clip
    picture = given_picture(features)
    if picture is None:
        return not_applicable("The clip was made without a first picture, or its picture is no longer stored.")
    if clip.num_frames < 2:
        return not_applicable("A clip of 1 frame shows nothing after its first picture.")
    structure, colour = picture_similarity(features.frames[0], picture)
    raw, motion = structure * colour, motion_gate(features)
    cut = float(cut_series(features)[: max(1, round(CUT_SECONDS * clip.fps))].max())
    return RewardResult(
        value=features.calibration.map(SPEC.key, raw) * motion * (1 - cut),
        raw=raw,
        details={"structure": structure, "colour": colour, "motion_gate": motion, "cut": cut},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `first_frame`: the darkened clip, on frame 0 red where it differs from the given picture."""
    picture = given_picture(features)
    if picture is None:
        return {}
    painted = (features.frames * 0.4).astype(np.uint8)
    difference = np.abs(features.frames[0].astype(np.float32) - picture).max(axis=-1)
    heat = np.clip(difference / (2 * COLOUR_LEVELS), 0, 1)[..., None]
    painted[0] = (painted[0] * (1 - heat) + heat * np.array((255, 60, 30))).astype(np.uint8)
    return {"first_frame": painted}


def given_picture(features: ClipFeatures) -> np.ndarray | None:
    """Return the given first picture `uint8[h,w,3]` at analysis size; None without one."""
    picture = features.clip.first_picture
    return None if picture is None else to_analysis_size(picture[None])[0]


def picture_similarity(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the similarity of structure and of colour, 0..1, of two pictures `uint8[h,w,3]` of one size."""
    sigma = COLOUR_SIGMA_PX / REFERENCE_PX * min(first.shape[:2])
    soft = [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma) for picture in (first, second)]
    difference = np.abs(soft[0] - soft[1]).max(axis=-1)
    gray = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (first, second))
    return _ms_ssim(*gray), float(np.exp(-difference / COLOUR_LEVELS).mean())


def _ms_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Return the multi-scale structural similarity of two pictures `float32[h,w]` in 0..255."""
    levels = []
    for scale in range(len(EXPONENTS)):
        if scale:
            first, second = (cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in (first, second))
        brightness, structure = _ssim_maps(first, second)
        last = scale == len(EXPONENTS) - 1
        levels.append(float((brightness * structure if last else structure).mean()))
    return float(np.prod(np.maximum(levels, 0.0) ** np.array(EXPONENTS)))


def _ssim_maps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of brightness, and that of contrast and structure, a pixel."""

    def local(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (WINDOW_PX, WINDOW_PX), WINDOW_SIGMA)

    mean_a, mean_b = local(first), local(second)
    variances = local(first**2) - mean_a**2 + local(second**2) - mean_b**2
    covariance = local(first * second) - mean_a * mean_b
    c1, c2 = STABILISERS
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return brightness, (2 * covariance + c2) / (variances + c2)
