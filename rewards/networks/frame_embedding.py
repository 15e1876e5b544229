"""Frame embeddings: one vector a frame, by CLIP or by a substitute without weights.

A `FrameEmbedder` gives unit vectors `float32[N,D]` for frames `uint8[N,H,W,3]`, so that 1 - a.b is a distance. A mix
names it under `[backends] frames`; the calibration has anchors for each name, because their distances differ.

    histogram   colour and edge directions in 4x4 cells: describes colour, place and texture, not the kind of object
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import cv2
import numpy as np

from rewards.errors import RewardError
from rewards.import_object import import_object

EMBEDDERS = {"histogram": "rewards.networks.frame_embedding:HistogramEmbedder"}
DEFAULT = "histogram"

SIDE_PX, CELLS = 64, 4
LIGHT_BINS, HUE_BINS, EDGE_BINS = 4, 8, 8
CHROMA_LEVELS, EDGE_LEVELS = 40.0, 40.0  # a colour this strong, an edge this steep, counts in full


class FrameEmbedder(Protocol):
    """A function from frames `uint8[N,H,W,3]` to unit vectors `float32[N,D]`."""

    @property
    def name(self) -> str: ...

    def __call__(self, frames: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramEmbedder:
    """Square roots of colour and edge histograms (so that the dot product is a Bhattacharyya coefficient)."""

    name: str = "histogram"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([_histograms(frame) for frame in frames])


@cache
def open_embedder(name: str = DEFAULT) -> FrameEmbedder:
    """Return the embedder of that name, one instance a process. Raises RewardError for an unknown one."""
    if name not in EMBEDDERS:
        raise RewardError(f"There is no frame embedding {name!r}; known are {', '.join(sorted(EMBEDDERS))}.")
    embedder: FrameEmbedder = import_object(EMBEDDERS[name])()
    return embedder


def _histograms(frame: np.ndarray) -> np.ndarray:
    small = cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    light, a, b = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))
    chroma = np.minimum(np.hypot(a, b) / CHROMA_LEVELS, 1)
    slope_x, slope_y = (cv2.Sobel(light, cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1)))
    steepness = np.minimum(np.hypot(slope_x, slope_y) * 255 / 100 / EDGE_LEVELS, 1)
    edge_angle = np.mod(np.arctan2(slope_y, slope_x), np.pi) / np.pi  # of a line, whichever side is brighter
    parts = [
        _binned(light / 100, 1 - chroma, LIGHT_BINS, wraps=False),
        _binned(np.arctan2(b, a) / (2 * np.pi) + 0.5, chroma, HUE_BINS, wraps=True),
        _binned(edge_angle, steepness, EDGE_BINS, wraps=True),
    ]
    vector = np.sqrt(np.concatenate(parts))
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


def _binned(position: np.ndarray, weight: np.ndarray, bins: int, *, wraps: bool) -> np.ndarray:
    """Return histograms of `position` (0..1) by `weight` in each of the 4x4 cells.

    A weight is shared between the two nearest bins.
    """
    place = position * bins - 0.5 if wraps else position * (bins - 1)
    lower = np.floor(place).astype(int)
    share = place - lower
    cells = _cell_numbers() * bins
    total = np.zeros(CELLS * CELLS * bins)
    for bin_, part in ((lower, 1 - share), (lower + 1, share)):
        inside = np.mod(bin_, bins) if wraps else np.clip(bin_, 0, bins - 1)
        total += np.bincount((cells + inside).ravel(), (weight * part).ravel(), minlength=total.size)
    return total


@cache
def _cell_numbers() -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX] * CELLS // SIDE_PX
    return np.asarray(rows * CELLS + columns)
