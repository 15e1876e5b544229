"""Canny's edge detector on one picture.

OpenCV's implementation writes past its memory and ends the process when it has a single thread and the picture has a
fine grid (seen in 4.12, 4.13 and 5.0). This one gives the same edges.
"""

import cv2
import numpy as np

TAN_22 = 13573  # tan(22.5 degrees) in units of 2^-15


def canny(gray: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the edges of `uint8[H,W]`: `uint8[H,W]`, 255 on an edge and 0 elsewhere.

    Gradients by 3x3 Sobel kernels and the sum of their absolute values; thinned across the edge; ridges above `low`
    count where they touch one above `high`. Source: Canny 1986, doi:10.1109/TPAMI.1986.4767851.
    """
    dx, dy = (
        cv2.Sobel(gray, cv2.CV_16S, *order, borderType=cv2.BORDER_REPLICATE).astype(np.int32)
        for order in ((1, 0), (0, 1))
    )
    size = np.abs(dx) + np.abs(dy)
    ridge = (size > low) & _is_ridge(size, dx, dy)
    _, labels = cv2.connectedComponents(ridge.astype(np.uint8), connectivity=8)
    strong = np.zeros(labels.max() + 1, np.uint8)
    strong[labels[ridge & (size > high)]] = 255
    strong[0] = 0
    return strong[labels]


def _is_ridge(size: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Return `bool[H,W]`: True where a gradient exceeds its two neighbours along its own direction."""
    around = np.pad(size, 1)
    height, width = size.shape

    def at(row: int, column: int) -> np.ndarray:
        return around[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    steep, flat = np.abs(dy).astype(np.int64) << 15, np.abs(dx).astype(np.int64) * TAN_22
    across = (size > at(0, -1)) & (size >= at(0, 1))
    along = (size > at(-1, 0)) & (size >= at(1, 0))
    falling = (size > at(-1, -1)) & (size > at(1, 1))
    rising = (size > at(-1, 1)) & (size > at(1, -1))
    diagonal = np.where((dx ^ dy) < 0, rising, falling)
    is_upright = steep > flat + (np.abs(dx).astype(np.int64) << 16)
    return np.where(steep < flat, across, np.where(is_upright, along, diagonal))
