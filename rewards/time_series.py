"""Pure functions on series over time: soft thresholds, aggregation that does not dilute one defect, alignment.

A *step* series has one value for each pair of neighbouring frames (T-1 values), NaN where nothing could be measured.
"""

import numpy as np

WORST_SHARE = 0.1


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at `low`, 1 at `high`, smooth between and flat beyond; falls when `low` > `high`."""
    t = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def smoothstep_value(value: float, low: float, high: float) -> float:
    """`smoothstep` of one number."""
    return float(smoothstep(np.array(value), low, high))


def over_time(values: np.ndarray, *, worst: str) -> float | None:
    """Half the mean plus half the mean of the worst tenth; `worst` says which end that is: "low" or "high".

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
    """Median over `reach` neighbours on each side, NaN ignored and kept: what lasts up to `reach` steps vanishes."""
    padded = np.pad(np.asarray(values, np.float64), reach, constant_values=np.nan)
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)  # NaN last
    known = np.maximum(np.isfinite(windows).sum(axis=1), 1)
    rows = np.arange(len(windows))
    middle = (windows[rows, (known - 1) // 2] + windows[rows, known // 2]) / 2
    return np.where(np.isfinite(values), middle, np.nan)


def steps_to_frames(steps: np.ndarray, num_frames: int) -> np.ndarray:
    """`float64[T]`: the step from t-1 to t is told at frame t, so that a dip marks the first bad frame."""
    frames = np.full(num_frames, np.nan)
    frames[num_frames - len(steps) :] = steps
    return frames
