"""Copies within a picture: tiles of the same film, side by side, one above the other, or in a grid.

The picture less its blur is compared with itself shifted by every distance, by the normalised cross-correlation of the
overlap, and so is its change over time. Tiles match in both, at the same distance in every frame, so sums over frames
are taken. Films have patterns, such as bricks, but what moves before them is there once.

source      normalised cross-correlation by Fourier transforms: Lewis 1995, "Fast normalized cross-correlation"
"""

import cv2
import numpy as np

from rewards.features import ClipFeatures

MOST_FRAMES = 8
SMALL_PX = 96  # short side
FINE_PX = 3.0  # sigma of the blur whose remainder is compared
LEAST_LAG = 1 / 6  # of the short side: closer, soft pictures match themselves
LEAST_OVERLAP = 0.4  # of the area: two tiles side by side overlap in half of it


def copied_share(features: ClipFeatures) -> float:
    """Return the correlation of picture and change with their best matching copy, 0..1; shared.

    It is 0 for a still picture, whose patterns cannot be told from tiles.
    """
    return features.once("copied_share", lambda: _copied_share(features.gray))


def _copied_share(gray: np.ndarray) -> float:
    scale = SMALL_PX / min(gray.shape[1:])
    chosen = gray[np.unique(np.linspace(0, len(gray) - 1, MOST_FRAMES).astype(int))]
    small = [cv2.resize(g, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32) for g in chosen]
    fine = np.stack([g - cv2.GaussianBlur(g, (0, 0), FINE_PX) for g in small])
    return float(
        np.clip(np.minimum(*(_similarity_at_lags(series) for series in (fine, np.diff(fine, axis=0)))).max(), 0, 1)
    )


def _similarity_at_lags(pictures: np.ndarray) -> np.ndarray:
    """Return `float64[2h,2w]`: correlation of `float32[N,h,w]` with itself shifted by every lag.

    It is 0 at lags that are too short, and where too little overlaps.
    """
    height, width = pictures.shape[1:]
    ones = np.ones((1, height, width), np.float32)
    products, energies, areas = (
        _sums_at_lags(*pair) for pair in ((pictures, pictures), (pictures**2, ones), (ones, ones))
    )
    opposite = np.roll(energies[::-1, ::-1], 1, axis=(0, 1))
    rows, columns = (np.minimum(lags, len(lags) - lags) for lags in map(np.arange, products.shape))
    allowed = np.hypot(rows[:, None], columns[None]) >= LEAST_LAG * min(height, width)
    allowed &= areas >= LEAST_OVERLAP * height * width
    return np.where(allowed, products / np.sqrt(np.maximum(energies * opposite, 1)), 0)


def _sums_at_lags(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return `float64[2h,2w]`: the sum of products of `[N,h,w]` and `[N or 1,h,w]` shifted by every lag."""
    size = tuple(2 * n for n in first.shape[1:])
    spectra = np.fft.rfft2(first, size) * np.conj(np.fft.rfft2(second, size))
    return np.asarray(np.fft.irfft2(spectra.sum(axis=0), size))
