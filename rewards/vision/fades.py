"""Fades: changes of brightness that go one way for several steps, and frames without them.

A fade-in, or the sun coming out, is no fault between two frames; flicker is. A step belongs to a fade when it lies
in a run of 5 or more steps that all brighten, or all darken, by 2 % or more. Random gains make such runs once in a
hundred steps.
"""

import numpy as np

from rewards.features import ClipFeatures

LEAST_CHANGE = 0.02  # of the brightness, a step
LEAST_STEPS = 5
DARK_LEVELS = 2.0  # added to the mean brightness, so that black has a finite gain


def fade_gains(features: ClipFeatures) -> np.ndarray:
    """Return `float64[T-1]`: the gain from frame t to t+1 where it is part of a fade, else 1; shared."""
    return features.once("fade_gains", lambda: _fade_gains(features.frames))


def without_fade(first: np.ndarray, second: np.ndarray, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both pictures `uint8[...]` at the brightness of the darker one.

    The second one is `gain` times as bright as the first one.
    """
    if gain == 1:
        return first, second
    return (first, _darkened(second, 1 / gain)) if gain > 1 else (_darkened(first, gain), second)


def _fade_gains(frames: np.ndarray) -> np.ndarray:
    levels = frames.reshape(len(frames), -1).mean(axis=1) + DARK_LEVELS
    steps = np.diff(np.log(levels))
    ways = np.where(np.abs(steps) >= np.log1p(LEAST_CHANGE), np.sign(steps), 0)
    starts = np.flatnonzero(np.diff(ways, prepend=np.nan) != 0)
    lengths = np.diff(np.append(starts, len(ways)))
    in_run = np.repeat(lengths >= LEAST_STEPS, lengths) & (ways != 0)
    return np.where(in_run, np.exp(steps), 1.0)


def _darkened(picture: np.ndarray, gain: float) -> np.ndarray:
    return np.asarray(np.rint(picture * gain).astype(np.uint8))
