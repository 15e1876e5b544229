"""The camera's motion from one frame to the next: the similarity that fits most of the flow.

source      RANSAC: Fischler & Bolles 1981, doi:10.1145/358669.358692
"""

from dataclasses import dataclass

import cv2
import numpy as np

FIT_PX = 1.0
RING_SHARE, RING_AGREEMENT = 0.15, 0.5  # of each side; of the ring's textured pixels
WORLD_SHARE = 0.6  # of the width: what moves alike over this much is the world, not a thing in it
_MIRROR = np.array([-1, 1, -1], np.float32)  # of a shift x, y and a roll


def camera_step(flow: np.ndarray, followed: np.ndarray, least_px: float) -> np.ndarray:
    """Return shift (shares of the short side) and roll (degrees); see `ClipFeatures.camera`.

    RANSAC draws pixels in their order, so the mean with the mirrored picture's step is taken.
    """
    mirrored = _step(flow[:, ::-1] * _MIRROR[:2], followed[:, ::-1], least_px) * _MIRROR
    return (_step(flow, followed, least_px) + mirrored) / 2


def _step(flow: np.ndarray, followed: np.ndarray, least_px: float) -> np.ndarray:
    whole = _similarity(flow, followed, least_px)
    ring = followed & _outer_ring(*followed.shape)
    if whole is None or np.count_nonzero(ring) < least_px:
        fit = whole
    else:
        fit = whole if _agreement(whole.move, flow, ring) >= RING_AGREEMENT else _similarity(flow, ring, least_px)
    if fit is None:
        return np.full(3, np.nan)
    short = min(followed.shape)
    turned = float(np.degrees(np.arctan2(fit.move[1, 0], fit.move[0, 0])))
    return np.array([*fit.move[:, 2] / short, turned if fit.width >= WORLD_SHARE else np.nan])


@dataclass(frozen=True, slots=True)
class _Similarity:
    """`move` is `float64[2,3]` about the picture's centre; `width` the share of the width that follows it."""

    move: np.ndarray
    width: float


def _similarity(flow: np.ndarray, followed: np.ndarray, least_px: float) -> _Similarity | None:
    """Return the similarity that fits most of up to 500 tracked pixels; None where there are too few."""
    rows, columns = np.nonzero(followed)
    if len(rows) < max(least_px, 3):
        return None
    chosen = np.linspace(0, len(rows) - 1, min(500, len(rows))).astype(int)
    rows, columns = rows[chosen], columns[chosen]
    start = _from_centre(rows, columns, followed.shape)
    cv2.setRNGSeed(0)  # RANSAC draws at random
    fitted, kept = cv2.estimateAffinePartial2D(start, start + flow[rows, columns], ransacReprojThreshold=FIT_PX)
    if fitted is None:
        return None
    left, right = np.percentile(columns[kept[:, 0] > 0], (5, 95))
    return _Similarity(fitted, float(right - left) / followed.shape[1])


def _agreement(move: np.ndarray, flow: np.ndarray, where: np.ndarray) -> float:
    """Return the share of the pixels of the mask whose flow is within 1 px of `move`."""
    rows, columns = np.nonzero(where)
    start = _from_centre(rows, columns, where.shape)
    off = start @ move[:, :2].T + move[:, 2] - start - flow[rows, columns]
    return float((np.hypot(*off.T) <= FIT_PX).mean())


def _outer_ring(height: int, width: int) -> np.ndarray:
    ring = np.ones((height, width), bool)
    rows, columns = round(RING_SHARE * height), round(RING_SHARE * width)
    ring[rows : height - rows, columns : width - columns] = False
    return ring


def _from_centre(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([columns - (shape[1] - 1) / 2, rows - (shape[0] - 1) / 2], axis=1)
