"""Classification of outlines by overlap with the shapes that the world draws.

Outlines are first scaled to one size and place; a subject that the edge always cuts is compared in place.
"""

from functools import cache

import cv2
import numpy as np

from engine.mini import world
from engine.mini.judge_tracks import SubjectTrack, ramp

PATCH_PX = 40
PATCH_ROOT_AREA_PX = 20.0
SHARPNESS = 40.0  # of the softmax over overlaps: a lead of 0.1 in overlap is 98 %
BLURS_PX = (1.2, 2.4, 3.6)  # of templates drawn at a radius of 13 px
TIME_PARTS = 4  # a shape is read in each quarter of its time, to detect a change of shape


def shape_fit(track: SubjectTrack) -> tuple[dict[str, float], float]:
    """Return the fit of each shape to the outline, and the outline's quality.

    Fits sum to 1, or less where the shape changes. Quality is 0 for an outline like none of the shapes (overlap <= 0.6)
    and 1 for a clear one (overlap >= 0.9).
    """
    overlaps = _overlaps_of_whole(track) if track.whole.any() else _overlaps_of_cut(track)
    odds = np.exp(SHARPNESS * (overlaps - overlaps.max(axis=1, keepdims=True)))
    mean = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
    quality = ramp(float(overlaps.max(axis=1).mean()), 0.6, 0.9)
    return dict(zip(world.SHAPES, mean.tolist(), strict=True)), quality


def _overlaps_of_whole(track: SubjectTrack) -> np.ndarray:
    """Return the overlap with each shape in each part of the time, `float[P,6]`.

    Only frames that show the subject whole and large are used.
    """
    whole = np.flatnonzero(track.whole)
    overlaps = []
    for part in np.array_split(whole, min(TIME_PARTS, len(whole))):
        large = part[track.area[part] >= 0.6 * track.area[part].max()]
        chosen = large[np.linspace(0, len(large) - 1, min(4, len(large))).astype(int)]
        patch = np.mean([_normal(track.alpha[t], track.centre[t], track.area[t]) for t in chosen], axis=0)
        overlaps.append(_overlap(patch, _templates()).reshape(len(world.SHAPES), -1).max(axis=1))
    return np.stack(overlaps)


def _normal(alpha: np.ndarray, centre: np.ndarray, area: float) -> np.ndarray:
    """Return the outline scaled to one size and place, `float32[PATCH_PX, PATCH_PX]`."""
    scale = PATCH_ROOT_AREA_PX / np.sqrt(area)
    # Pixel k covers k..k+1, so its centre, where OpenCV samples it, is k + 0.5 in the track's coordinates.
    shift = PATCH_PX / 2 - 0.5 - scale * (centre - 0.5)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(np.ascontiguousarray(alpha), matrix, (PATCH_PX, PATCH_PX), flags=cv2.INTER_LINEAR)


def _overlap(patch: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Return the soft intersection over union of one picture with each of `templates` float[N,h,w]."""
    both = np.minimum(patch, templates).sum(axis=(1, 2))
    return both / np.maximum(np.maximum(patch, templates).sum(axis=(1, 2)), 1e-6)


@cache
def _templates() -> np.ndarray:
    """Return the templates of all shapes, `float32[6*V, PATCH_PX, PATCH_PX]`.

    Each shape is drawn at the world's middle size and scaled by `_normal`, in V variants: generated clips blur
    outlines, or round their corners (blurred, then steep again).
    """
    templates = []
    for shape in world.SHAPES:
        sharp = _drawn(shape, np.array([32.0]), np.array([32.0]), np.array([13.0]))[0]
        blurred = [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in BLURS_PX]
        rounded = [np.clip(3 * (soft - 0.5) + 0.5, 0, 1) for soft in blurred]
        templates += [_centred(alpha) for alpha in (sharp, *blurred, *rounded)]
    return np.stack(templates)


def _centred(alpha: np.ndarray) -> np.ndarray:
    grid, area = np.arange(world.SIZE_PX) + 0.5, float(alpha.sum())
    return _normal(alpha, np.array([alpha.sum(axis=0) @ grid, alpha.sum(axis=1) @ grid]) / area, area)


def _drawn(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the coverage `float32[N,64,64]` of a shape at N places and sizes."""
    grid_y, grid_x = np.mgrid[0 : world.SIZE_PX, 0 : world.SIZE_PX].astype(np.float32) + 0.5
    x, y, radius = (values[:, None, None].astype(np.float32) for values in (x, y, radius))
    return np.clip(0.5 - world.signed_distance(shape, grid_x - x, grid_y - y, radius), 0, 1)


def _overlaps_of_cut(track: SubjectTrack) -> np.ndarray:
    """Return the overlap with each shape, `float[1,6]`, for a subject that the picture's edge always cuts.

    It is measured in the largest frame. Its place follows from the edges that are seen and from its size, so only the
    size is searched.
    """
    t = int(np.argmax(track.area))
    radius = np.arange(7.0, 22.0)
    best = []
    for shape in world.SHAPES:
        x, y = (_place(track, t, axis, radius, _reach(shape)[axis]) for axis in (0, 1))
        best.append(_overlap(track.alpha[t], _drawn(shape, x, y, radius)).max())
    return np.array([best])


def _place(track: SubjectTrack, t: int, axis: int, radius: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Return the centre of a shape along an axis for each radius, from the sides that are not cut."""
    low, high = track.low[t, axis] + reach[0] * radius, track.high[t, axis] - reach[1] * radius
    cut_low, cut_high = track.cut[t, axis]
    return low if cut_high and not cut_low else high if cut_low and not cut_high else (low + high) / 2


@cache
def _reach(shape: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the extents of a shape of radius 1 from its centre: (left, right), (up, down)."""
    alpha = _drawn(shape, np.array([32.0]), np.array([32.0]), np.array([20.0]))[0] > 0.5
    spans = [np.flatnonzero(alpha.any(axis=axis)) for axis in (0, 1)]
    left_right, up_down = (((32.0 - span[0]) / 20, (span[-1] + 1 - 32.0) / 20) for span in spans)
    return left_right, up_down


def radius_of(track: SubjectTrack, shape: str | None) -> float:
    """Return the median radius, px, from the area of the frames that show it whole."""
    unit = float(_drawn(shape or "circle", np.array([32.0]), np.array([32.0]), np.array([20.0])).sum()) / 400
    frames = track.whole if track.whole.any() else track.present
    return float(np.median(np.sqrt(track.area[frames] / unit)))
