"""The strongest repetition in a clip: the same changes later or mirrored in time, at any speed.

A *change* is the difference of two neighbouring thumbnails. The clip is compared with itself played at several speeds,
forward and, with the sign of the changes reversed, backward. For each speed and each offset, the energy-weighted cosine
of the changes is taken over windows that cover 8 frames of the faster part; at the same speed also over the rest of the
clip. Forward, only pairs 8 frames apart or more count, and a similarity counts by its prominence over smaller lags.
Thumbnails are normalised in brightness and contrast, so flicker is no repetition. Walking or waves are periodic but not
pixel by pixel: only a similarity near 1 is the same picture again.

source      recurrence in self-similarity matrices (Cutler & Davis 2000, doi:10.1109/34.868681)
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.time_series import smoothstep

SHORTEST_FRAMES = 8
LEAST_FRAMES = 2 * SHORTEST_FRAMES + 1
SPEEDS = (1.0, 0.85, 0.72, 0.6, 0.5, 0.42, 0.35, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8)  # a fifth apart: 1 frame in 8
LEAST_ENERGY = 0.25  # of the clip's mean: a window in which next to nothing changes is no repetition
PHASE_FRAMES = 0.5  # at twice the speed, every second frame may be an odd one
NEIGHBOUR_LAGS = 3  # too close to the best lag to be a valley before it
THUMB_PX = 32
# Of windows, films stay under 0.77, a shape that goes round in circles under 0.85 but for its own period; the same
# pictures again measure 0.88 to 1 at another speed, 0.99 to 1 at the same.
REPEATS = (0.85, 0.95)
EXACT = (0.965, 0.99)  # the same way again at the same speed: a shape that goes round in circles reaches 0.963
NEAR = (0.90, 0.94)  # the same way again at another speed: that shape, blurred, reaches 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The strongest repetition found.

    `similarity` is 0..1. `first` and `second` are the frames into which the paired changes lead, `int[N]` each.
    """

    similarity: float
    first: np.ndarray
    second: np.ndarray
    speed: float
    mirrored: bool


def find_repetition(features: ClipFeatures) -> Repetition:
    """Return the strongest repetition of a clip of at least 17 frames; shared."""
    return features.once("repetition", lambda: strongest_repetition(thumbnails(features)))


def thumbnails(features: ClipFeatures) -> np.ndarray:
    """Return `float32[T,32*32]`: small gray pictures, mean 0, all with the clip's median contrast."""
    return features.once("thumbnails", lambda: _thumbnails(features.gray))


def strongest_repetition(small: np.ndarray) -> Repetition:
    """Return the best of all speeds, offsets and directions in thumbnails `float32[T,D]`."""
    played = [(speed, phase) for speed in SPEEDS for phase in np.arange(0, speed - 1e-6, PHASE_FRAMES)]
    found = [_at_speed(small, *how, mirrored=mirrored) for how in played for mirrored in (False, True)]
    return max((_best_lag(small), *found), key=lambda one: one.similarity)


def _best_lag(small: np.ndarray) -> Repetition:
    """Return the lag of highest similarity of the rest of the clip, by prominence over smaller lags."""
    changes = np.diff(small, axis=0)
    products = changes @ changes.T
    norms = np.sqrt(np.diagonal(products))
    sizes = np.outer(norms, norms) + 1e-6
    lags = np.arange(1, len(changes) - SHORTEST_FRAMES + 1)
    similar = np.array([np.diagonal(products, k).sum() / np.diagonal(sizes, k).sum() for k in lags])
    prominent = [min(similar[k - 1], similar[k - 1] - similar[k // 2 : k].min()) for k in lags[SHORTEST_FRAMES - 1 :]]
    lag, best = SHORTEST_FRAMES + int(np.argmax(prominent)), float(np.clip(max(prominent), 0, 1))
    second = np.arange(lag + 1, len(changes) + 1)
    return Repetition(similarity=best, first=second - lag, second=second, speed=1.0, mirrored=False)


def _at_speed(small: np.ndarray, speed: float, phase: float, *, mirrored: bool) -> Repetition:
    """Return the best offset between the clip and itself played at `speed`, starting at frame `phase`."""
    slowed, times = _resampled(small, speed, phase)
    if mirrored:
        slowed, times = slowed[::-1], times[::-1]
    changes, slow_changes = np.diff(small, axis=0), np.diff(slowed, axis=0)
    middles = (times[1:] + times[:-1]) / 2 + 0.5  # of a slow change, in numbers of the frame that a change leads into
    width = int(np.ceil(SHORTEST_FRAMES / min(speed, 1.0)))
    similar = _along_diagonals(slow_changes, changes, width)
    starts, offsets = np.arange(len(changes)), np.arange(len(slow_changes))
    lag = np.full(similar.shape, np.inf)
    if not mirrored and similar.size:
        ends = np.minimum(offsets + width - 1, len(middles) - 1), np.minimum(starts + width - 1, len(changes) - 1)
        gaps = middles[:, None] - 1 - starts[None], middles[ends[0]][:, None] - 1 - ends[1][None]
        lag = np.where(np.sign(gaps[0]) == np.sign(gaps[1]), np.minimum(*np.abs(gaps)), 0)
        similar = _prominence(similar, gaps[0])
        similar = similar * smoothstep(similar, *(EXACT if speed == 1 else NEAR))
    similar = np.where(lag >= SHORTEST_FRAMES, similar, 0)
    m, j = np.unravel_index(int(np.argmax(similar)), similar.shape) if similar.size else (0, 0)
    best = float(np.clip(similar[m, j], 0, 1)) if similar.size else 0.0
    steps = np.arange(min(width, len(middles) - m, len(changes) - j))
    paired = np.clip(np.rint(middles[m + steps]), 1, len(changes)).astype(int)
    return Repetition(similarity=best, first=paired, second=1 + j + steps, speed=speed, mirrored=mirrored)


def _resampled(small: np.ndarray, speed: float, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Return thumbnails interpolated at times `speed` frames apart, and those times."""
    times = np.arange(phase, len(small) - 1 + 1e-6, speed)
    before = np.minimum(times.astype(int), len(small) - 2)
    share = (times - before)[:, None].astype(np.float32)
    return small[before] * (1 - share) + small[before + 1] * share, times


def _along_diagonals(rows: np.ndarray, columns: np.ndarray, width: int) -> np.ndarray:
    """Return `float64[M,J]`: energy-weighted cosine of `rows[m + k]` and `columns[j + k]`, k < `width`.

    It is 0 where the window does not fit, and where too little changes.
    """
    products = (rows @ columns.T).astype(np.float64)
    energies = [np.linalg.norm(changes, axis=1).astype(np.float64) for changes in (rows, columns)]
    sizes = np.outer(*energies)
    summed, weight = (_diagonal_sums(values, width) for values in (products, sizes))
    enough = np.outer(*(_window_means(energy, width) >= LEAST_ENERGY * energy.mean() for energy in energies))
    return np.where(enough & (weight > 1e-6), summed / np.maximum(weight, 1e-6), 0)[: len(rows), : len(columns)]


def _diagonal_sums(values: np.ndarray, width: int) -> np.ndarray:
    """Return the sum of `width` neighbours along the diagonal from each entry; 0 where they do not fit."""
    rows, columns = values.shape
    total = np.zeros_like(values)
    if rows < width or columns < width:
        return total
    inner = total[: rows - width + 1, : columns - width + 1]
    for k in range(width):
        inner += values[k : k + len(inner), k : k + inner.shape[1]]
    return total


def _window_means(energy: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of `width` entries starting at each; 0 where they do not fit."""
    means = np.zeros_like(energy)
    if len(energy) >= width:
        means[: len(energy) - width + 1] = np.convolve(energy, np.full(width, 1 / width), "valid")
    return means


def _prominence(similar: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return the similarity, less the lowest one at smaller lags; `gaps[M,J]` are the signed lags."""
    prominent = similar.copy()
    for side in (1, -1):
        order = slice(None) if side == 1 else slice(None, None, -1)
        ahead = (side * gaps[order] > 0) & (similar[order] != 0)
        lowest = np.minimum.accumulate(np.where(ahead, similar[order], np.inf), axis=0)
        valley = np.full_like(lowest, np.inf)
        valley[NEIGHBOUR_LAGS:] = lowest[:-NEIGHBOUR_LAGS]
        raised = np.where(np.isfinite(valley), similar[order] - valley, similar[order])
        prominent[order] = np.where(ahead, np.minimum(prominent[order], raised), prominent[order])
    return prominent


def _thumbnails(gray: np.ndarray) -> np.ndarray:
    sigma = min(gray.shape[1:3]) / THUMB_PX / 2
    small = np.stack(
        [
            cv2.resize(cv2.GaussianBlur(g, (0, 0), sigma), (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
            for g in gray
        ]
    )
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    contrast = flat.std(axis=1, keepdims=True)
    return np.asarray(flat * (np.median(contrast) / np.maximum(contrast, 1.0)))
