"""Structure constancy: do outlines keep their shape while they move?

measures    soft edges (Canny on a lightly smoothed gray picture, with lower thresholds for a soft clip, spread by a
            Gaussian) of frame t+1, warped to frame t along the flow, are compared with those of frame t by a soft Dice
            coefficient 2<a,b> / (<a,a> + <b,b>) over visible pixels, times the visible share of frame t's edges. Black
            background agrees with black background, so only edges are compared; noise agrees with warped noise, so the
            visible share counts; across a hard cut the agreement is 0, even where outlines happen to match.
            value = agreement (mapped) x motion gate
source      edge agreement under motion compensation; edges: Canny 1986, doi:10.1109/TPAMI.1986.4767851
range       raw: 0 (outlines are never found again) to 1; higher is better
back ends   the flow's: "dis" (CPU, no weights), "raft" (GPU)
licence     no weights of its own
"""

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import cut_series, motion_gate
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time, steps_to_frames
from rewards.vision.edges import canny
from rewards.vision.flow import warp

SPEC = RewardSpec(
    key="structure_constancy",
    title="Structure constancy",
    question="Do outlines keep their shape while they move?",
    unit="edge agreement",
    low=0.0,
    high=1.0,
    needs=("flow", "visible"),
    per_frame=True,
    source="Motion-compensated edge agreement; Canny 1986, doi:10.1109/TPAMI.1986.4767851",
)
SMOOTHING_PX, CANNY_LEVELS, SPREAD_PX = 0.7, (50, 100), 1.2  # chosen so that noise of sigma 15 shows (reward matrix)
# The 75th percentile of gradients that are not flat at which the thresholds are as above; at half of it they are
# halved. Otherwise the faint outlines of a soft clip flicker near the thresholds, and sharpening it would pay.
FULL_GRADIENT, LEAST_SCALE, FLAT_GRADIENT = 100.0, 0.5, 16
EVERY_FRAMES = 8
LEAST_EDGE, LEAST_SHARE = 0.002, 0.25  # mean soft edge (also as a share of the usual) under which nothing is compared


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 2 frames with outlines."""
    clip = features.clip
    if clip.num_frames < 2:
        return not_applicable("Constancy needs at least 2 frames, but the clip has 1.")
    agreement, seen = edge_agreement(features)
    kept = agreement * seen * (1 - cut_series(features))
    raw = over_time(kept, worst="low")
    if raw is None:
        return not_applicable("There are no outlines in the picture to compare.")
    gate = motion_gate(features)
    return RewardResult(
        value=features.calibration.map(SPEC.key, raw) * gate,
        raw=raw,
        backend=features.flow_name,
        confidence=float(np.nanmean(seen)),
        per_frame=steps_to_frames(features.calibration.map(SPEC.key, kept), clip.num_frames),
        details={"visible_share": float(np.nanmean(seen)), "motion_gate": gate},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `edges`: outlines in white; in red where the next frame, warped, does not have them."""
    edges = soft_edges(features)
    painted = np.repeat((edges * 255).astype(np.uint8)[..., None], 3, axis=-1)
    for t in range(len(edges) - 1):
        lost = (edges[t] > 0.2) & (warp(edges[t + 1][None], features.flow[0][t][None])[0] < 0.1)
        painted[t][lost] = (255, 40, 40)
    return {"edges": painted}


def edge_agreement(features: ClipFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Return the Dice coefficient of visible edges and the visible share of edges.

    Both are `float64[T-1]`, NaN without edges.
    """
    edges = soft_edges(features)
    here, there, seen = edges[:-1], warp(edges[1:], features.flow[0]), features.visible
    both = np.einsum("nhw,nhw,nhw->n", seen, here, there)
    each = np.einsum("nhw,nhw->n", seen, here**2 + there**2)
    total = here.sum(axis=(1, 2))
    amounts = edges.mean(axis=(1, 2))
    known = (amounts[:-1] + amounts[1:]) / 2 >= max(LEAST_EDGE, LEAST_SHARE * float(np.median(amounts)))
    share = np.einsum("nhw,nhw->n", seen, here) / np.maximum(total, 1e-9)
    dice = 2 * both / np.maximum(each, 1e-9)
    return np.where(known, dice, np.nan).astype(np.float64), np.where(known, share, np.nan).astype(np.float64)


def soft_edges(features: ClipFeatures) -> np.ndarray:
    """Return soft edges `float32[T,h,w]` in 0..1; shared."""
    return features.once("soft_edges", lambda: _soft_edges(features.gray))


def _soft_edges(gray: np.ndarray) -> np.ndarray:
    smooth = [cv2.GaussianBlur(g, (0, 0), SMOOTHING_PX) for g in gray]
    low, high = (level * _threshold_scale(smooth[::EVERY_FRAMES]) for level in CANNY_LEVELS)
    edges = (canny(g, low, high).astype(np.float32) / 255 for g in smooth)
    return np.stack([cv2.GaussianBlur(e, (0, 0), SPREAD_PX) for e in edges])


def _threshold_scale(smooth: list[np.ndarray]) -> float:
    """Return the share of `CANNY_LEVELS` that suits the clip's gradients, 0.5..1; 1 without gradients."""
    sizes = np.stack([sum(np.abs(cv2.Sobel(g, cv2.CV_16S, *axis)) for axis in ((1, 0), (0, 1))) for g in smooth])
    known = sizes[sizes > FLAT_GRADIENT]
    return float(np.clip(np.percentile(known, 75) / FULL_GRADIENT, LEAST_SCALE, 1)) if known.size else 1.0
