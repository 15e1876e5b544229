"""Liveness: tell a scene from a still picture that is panned, zoomed, or moved in one piece.

Between pictures 1/8 s apart the camera motion is the affine motion that fits most of the textured area. Pixels that
move against it are *independent*. One more affine motion, fitted to the independent pixels, describes a patch or a
cut-out that slides over a still picture; pixels whose motion lies between the two belong to its border. Pixels that
neither explains are *non-rigid*: people, animals, parallax, several objects. The flow of noise does not agree both
ways, and a cross-fade has none, so neither adds any. Pixels whose colour never changes in the whole clip are *frozen*:
a camera has noise.

source      layered motion: Wang & Adelson 1994, doi:10.1109/83.334981; RANSAC: Fischler & Bolles 1981,
            doi:10.1145/358669.358692; telling a live face from a moved photograph by its flow: Bao et al. 2009,
            doi:10.1109/IASP.2009.5054589
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import FOLLOWABLE, ClipFeatures
from rewards.time_series import smoothstep_value
from rewards.vision.flow import pixel_grid, visibility

STEP_S = 1 / 8  # between the pictures compared: at 30 fps, neighbours differ by less than flow's error
INDEPENDENT_PX_S = 6.0  # px of 256 a second against the camera; flow on a panned still errs by up to 2
FIT_PX, BORDER_PX = 0.5, 1.0
SAMPLES = 1500
LEAST_SAMPLES = 40
FROZEN_LEVELS = 0.5  # standard deviation over the clip, in levels
# Measured on the tuning clips: see docs/rewards-matrix.md.
NON_RIGID_SHARE = (0.02, 0.065)  # of the independent area
NON_RIGID_AREA = (0.0008, 0.003)  # of the textured area, by its logarithm
FROZEN_SHARE = (0.05, 0.12)  # of the textured area: tuning clips up to 0.009, with a frozen subject 0.125 and more


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """Shares of the textured area: independent, non-rigid (means over the clip), and frozen."""

    independent: float
    non_rigid: float
    frozen: float

    @property
    def level(self) -> float:
        """Return 0 for a still picture that was moved, 1 for a scene."""
        share = smoothstep_value(self.non_rigid / max(self.independent, 1e-9), *NON_RIGID_SHARE)
        low, high = np.log(NON_RIGID_AREA)
        area = smoothstep_value(float(np.log(max(self.non_rigid, 1e-9))), low, high)
        return share * area * (1 - smoothstep_value(self.frozen, *FROZEN_SHARE))


def measure_liveness(features: ClipFeatures) -> Liveness | None:
    """Measure a clip; None for one shorter than a step of 1/8 s (two frames at least); shared."""
    return features.once("liveness", lambda: _measure(features))


def _measure(features: ClipFeatures) -> Liveness | None:
    clip, stride = features.clip, max(1, round(features.clip.fps * STEP_S))
    if clip.num_frames <= stride:
        return None
    starts = np.arange(0, clip.num_frames - stride, stride)
    forward, backward = features.flow_between(starts, starts + stride)
    seen = visibility(forward, backward)
    least = INDEPENDENT_PX_S * stride / clip.fps / features.unit
    areas = np.zeros(3)  # textured, independent, non-rigid
    for t, flow, visible in zip(starts, forward, seen, strict=True):
        textured = features.texture[t] > FOLLOWABLE
        areas += (textured.sum(), *_moving_areas(flow, textured & visible, least))
    independent, non_rigid = areas[1:] / max(areas[0], 1.0)
    return Liveness(independent=float(independent), non_rigid=float(non_rigid), frozen=_frozen_share(features))


def _moving_areas(flow: np.ndarray, followed: np.ndarray, least_px: float) -> tuple[int, int]:
    """Count the pixels that move against the camera by `least_px`, and those that no rigid layer explains."""
    camera = _affine(flow, followed)
    if camera is None:
        return 0, 0
    against = flow - camera
    moving = followed & (_length(against) > least_px)
    layer = _affine(flow, moving)
    if layer is None:
        return int(moving.sum()), 0
    off = _distance_to_segment(against, layer - camera)
    return int(moving.sum()), int((moving & (off > BORDER_PX)).sum())


def _affine(flow: np.ndarray, where: np.ndarray) -> np.ndarray | None:
    """Return `float32[h,w,2]`: the affine flow that fits most pixels of the mask; None for fewer than 40."""
    rows, columns = np.nonzero(where)
    if len(rows) < LEAST_SAMPLES:
        return None
    chosen = np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)
    rows, columns = rows[chosen], columns[chosen]
    start = np.stack([columns, rows], axis=1).astype(np.float32)
    cv2.setRNGSeed(0)
    fitted, _ = cv2.estimateAffine2D(start, start + flow[rows, columns], ransacReprojThreshold=FIT_PX)
    if fitted is None:
        return None
    grid = pixel_grid(*flow.shape[:2])
    return np.asarray(grid @ fitted[:, :2].T + fitted[:, 2] - grid, np.float32)


def _distance_to_segment(vectors: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the distances of `vectors[h,w,2]` from the segments between 0 and `ends[h,w,2]`."""
    along = (vectors * ends).sum(-1) / np.maximum((ends * ends).sum(-1), 1e-6)
    return _length(vectors - np.clip(along, 0, 1)[..., None] * ends)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]))


def _frozen_share(features: ClipFeatures) -> float:
    textured = features.texture.mean(axis=0) > FOLLOWABLE
    spread = np.max([_spread(features.frames[..., c]) for c in range(3)], axis=0)
    return float((spread < FROZEN_LEVELS)[textured].mean()) if textured.any() else 0.0


def _spread(channel: np.ndarray) -> np.ndarray:
    """Return `float64[h,w]`: standard deviation over time, a row at a time to save memory."""
    return np.stack([rows.std(axis=0, dtype=np.float64) for rows in channel.swapaxes(0, 1)])
