"""Raster artefacts of a single picture: combs of interlaced video, and grids of equal lines.

comb    energy of alternating rows over that of alternating columns. The part of the vertical Nyquist frequency that is
        constant over 8 pixels of a row counts only where it is found again 4 rows further down, so that a single edge
        does not count.
grid    highest autocorrelation, over lags of 3 pixels to a third of the side and again at twice the lag, of the mean of
        each row (or column) less its running median. Real lines do not repeat at one distance over the whole picture.

Both read the picture at its stored size: combs that were scaled with the picture are not found.
"""

import cv2
import numpy as np

from rewards.time_series import smoothstep_value

COMB_RATIO = (2.0, 5.0)  # tuning clips up to 0.3, oversharpened 2.3; fields of two frames 3.5 to 100 where much moves
COMB_FLOOR = 1.0  # grey levels squared: energy that counts as none
GRID_CORRELATION = (0.65, 0.85)  # tuning clips up to 0.27, shaken ones 0.37; with lines 4, 16 and 32 px apart 0.83 to 1
GRID_LEVELS = (0.5, 1.5)  # standard deviation of the profile
COHERENT_PX, COMB_ROWS, LEAST_LAG = 8, 4, 3
LEAST_ROWS = 100  # interlaced video has more; at 64 rows, the points and edges of a few shapes would count as a comb
_NYQUIST = np.array([1, -4, 6, -4, 1], np.float32) / 16


def raster_share(frame: np.ndarray) -> float:
    """Return the certainty that `uint8[H,W,3]` shows a comb or a grid, 0..1."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.log(COMB_RATIO)
    ratio = comb_ratio(gray) if len(gray) >= LEAST_ROWS else 0.0
    comb = smoothstep_value(float(np.log(max(ratio, 1e-6))), low, high)
    return max(comb, *(_grid_share(gray.mean(axis=axis)) for axis in (0, 1)))


def comb_ratio(gray: np.ndarray) -> float:
    """Return the energy of alternating rows over that of alternating columns, of `float32[H,W]`."""
    return _alternation(gray) / (_alternation(gray.T) + COMB_FLOOR)


def _alternation(gray: np.ndarray) -> float:
    rows = cv2.filter2D(cv2.blur(gray, (COHERENT_PX, 1)), cv2.CV_32F, _NYQUIST[:, None])
    return max(0.0, float((rows[:-COMB_ROWS] * rows[COMB_ROWS:]).mean())) if len(rows) > COMB_ROWS else 0.0


def periodicity(profile: np.ndarray) -> tuple[float, float]:
    """Return the highest autocorrelation of `float32[N]` less its running median of 5, and the deviation.

    The deviation is the standard deviation after the median is subtracted. The lower value of a lag and of twice that
    lag counts: two lines have only a distance, three equally spaced ones a period.
    """
    rest = profile - cv2.medianBlur(profile.astype(np.float32)[:, None], 5)[:, 0]
    rest = rest - rest.mean()
    lags = np.arange(2 * len(rest) // 3)
    if len(rest) // 3 <= LEAST_LAG:
        return 0.0, 0.0
    energy = np.concatenate([[0.0], np.cumsum(rest.astype(np.float64) ** 2)])
    products = np.correlate(rest, rest, "full")[len(rest) - 1 :][lags]
    norms = np.sqrt(energy[len(rest) - lags] * (energy[-1] - energy[lags]))
    similar = products / np.maximum(norms, 1e-6)
    lags = np.arange(LEAST_LAG, len(rest) // 3)
    return float(np.minimum(similar[lags], similar[2 * lags]).max()), float(rest.std())


def _grid_share(profile: np.ndarray) -> float:
    correlation, level = periodicity(profile)
    return smoothstep_value(correlation, *GRID_CORRELATION) * smoothstep_value(level, *GRID_LEVELS)
