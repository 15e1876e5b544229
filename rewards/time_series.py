"""Pure functions on series over time: soft thresholds, robust aggregation, alignment.

A *step* series has one value for each pair of neighbouring frames (T-1 values), NaN where nothing could be measured.
"""

import numpy as np

WORST_SHARE = 0.1


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` to 0 and `high` to 1, smooth between and flat beyond; decreasing when `low` > `high`."""
    t = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def smoothstep_value(value: float, low: float, high: float) -> float:
    """Return `smoothstep` of one number."""
    return float(smoothstep(np.array(value), low, high))


def over_time(values: np.ndarray, *, worst: str) -> float | None:
    """Return half the mean plus half the mean of the worst tenth; `worst` is the bad end, "low" or "high".

    None when the series has no finite value. A plain mean hides a single defect (a hard cut moves the mean of 63 steps
    by less than the spread between good clips).
    """
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return None
    count = max(1, round(WORST_SHARE * known.size))
    tail = known[:count] if worst == "low" else known[-count:]
    return float(0.5 * known.mean() + 0.5 * tail.mean())


def running_median(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the median over `reach` neighbours on each side; NaN are ignored and stay NaN.

    It removes everything that lasts up to `reach` steps.
    """
    padded = np.pad(np.asarray(values, np.float64), reach, constant_values=np.nan)
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)  # NaN last
    known = np.maximum(np.isfinite(windows).sum(axis=1), 1)
    rows = np.arange(len(windows))
    middle = (windows[rows, (known - 1) // 2] + windows[rows, known // 2]) / 2
    return np.where(np.isfinite(values), middle, np.nan)


def steps_to_frames(steps: np.ndarray, num_frames: int) -> np.ndarray:
    """Return `float64[T]`: the step from t-1 to t is at frame t, so a dip marks the first bad frame."""
    frames = np.full(num_frames, np.nan)
    frames[num_frames - len(steps) :] = steps
    return frames
