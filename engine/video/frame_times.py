"""Times of frames as a constant frame rate. Pure functions on seconds."""

from collections.abc import Sequence

import numpy as np

LATE = 0.5  # of a step: a frame within it belongs to its own slot of a constant rate
ROUNDING = 0.05  # of a step
HELD = 1.5  # steps: a last frame that is shown longer is repeated


def constant_rate(times: np.ndarray, candidates: Sequence[float], end: float | None) -> float | None:
    """The rate in 1/s at which frame k stands at `times[0] + k / rate`, within half a step.

    None for a variable rate.

    `times` are float[T] in s, rising. Of the `candidates` the first is taken that deviates about as little as the best
    rate, since containers round times. `end` is when the last frame ends, None where that does not count (a GIF pauses
    before it repeats).
    """
    if len(times) == 1:
        return candidates[0] if candidates else None
    measured = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else None
    rates = [*candidates, *([float(measured)] if measured else [])]
    deviations = [_deviation(times, rate) for rate in rates]
    least = min(deviations)
    if least >= LATE:
        return None
    rate = next(rate for rate, off in zip(rates, deviations, strict=True) if off <= least + ROUNDING)
    is_held = end is not None and (end - times[-1]) * rate > HELD
    return None if is_held else rate


def regular_slots(times: np.ndarray, candidates: Sequence[float], end: float | None) -> tuple[float, np.ndarray]:
    """Return `(fps, index[T'])`: the frame in each slot of a rate that is fast enough for most steps.

    The rate is that of the lower quartile of the steps, so that the fast parts of a clip keep their frames; one of the
    `candidates` within 2 % of it is taken instead.
    """
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return 0.0, np.arange(len(times))
    typical = float(1 / np.quantile(steps, 0.25))
    fps = next((rate for rate in candidates if abs(rate / typical - 1) < 0.02), typical)
    own = np.round((times - times[0]) * fps).astype(int)
    last = own[-1] + 1 if end is None else max(own[-1] + 1, round((end - times[0]) * fps))
    return fps, np.searchsorted(own, np.arange(last), side="right") - 1


def without_reorder_gap(times: np.ndarray) -> np.ndarray:
    """Times of an AVI, which stores none: with B-frames its first frame seems to come a step or two early."""
    steps = np.diff(times)
    if len(steps) < 2 or not (np.abs(steps[1:] - steps[1]) < 0.1 * steps[1]).all() or steps[0] > 3.5 * steps[1]:
        return times
    return np.concatenate([[times[1] - steps[1]], times[1:]])


def _deviation(times: np.ndarray, rate: float) -> float:
    """The largest distance of a frame from its slot, in steps."""
    ideal = np.arange(len(times)) / rate
    return float(np.abs(times - times[0] - ideal).max() * rate)
