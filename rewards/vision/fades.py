"""Fades of brightness over several frames, frames without them, and cross-fades.

A fade-in, or the sun coming out, is no fault between two frames; flicker is. A step belongs to a fade when it lies
in a run of 5 or more steps that all brighten, or all darken, by 2 % or more. Random gains make such runs once in a
hundred steps.

All frames of a cross-fade are mixtures of the same two pictures, so they lie on one line, at any speed: the first
principal component explains all of their variance. Every frame is divided by its mean brightness first: mixtures stay
on a line, but flicker and fades of one picture are no mixtures. A nearly black frame, as at the ends of a fade, has no
picture that could be divided so: the nearest other one takes its place.
"""

import cv2
import numpy as np

from rewards.features import ClipFeatures

LEAST_CHANGE = 0.02  # of the brightness, a step
LEAST_STEPS = 5
DARK_LEVELS = 2.0  # added to the mean brightness, so that black has a finite gain
WINDOW_FRAMES, WINDOW_S = 33, 0.5  # in which a cross-fade is looked for: the longer one
LEAST_WINDOW = 17  # in shorter ones, soft shapes that move slowly change along a line, too
STILL_SPREAD = 1e-3  # of the brightness: windows with less change are still
BLACK_SHARE = 0.15  # of the brightest frame's brightness: darker frames are nearly black
SMALL_PX = 64  # short side; at this size noise has little variance


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


def mixture_share(features: ClipFeatures) -> float:
    """Return the share of the variance over time that one line of mixtures explains, 0..1; shared.

    It is the median over windows of half a second, 33 frames at least. It is 0 for still windows and for a clip of
    fewer than 17 frames.
    """
    return features.once("mixture_share", lambda: _mixture_share(features.frames, features.clip.fps))


def _mixture_share(frames: np.ndarray, fps: float) -> float:
    length = min(len(frames), max(WINDOW_FRAMES, round(WINDOW_S * fps)))
    if length < LEAST_WINDOW:
        return 0.0
    scale = SMALL_PX / min(frames.shape[1:3])
    small = [cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in frames]
    levels = np.stack(small).reshape(len(frames), -1).astype(np.float32)
    brightness = levels.mean(axis=1, keepdims=True)
    levels = (levels / np.maximum(brightness, 1))[_nearest(brightness[:, 0] >= BLACK_SHARE * brightness.max())]
    starts = range(0, len(frames) - length + 1, length // 2)
    return float(np.median([_first_component(levels[start : start + length]) for start in starts]))


def _nearest(kept: np.ndarray) -> np.ndarray:
    """Return the number of the nearest kept frame of each frame, `int[T]`."""
    numbers = np.flatnonzero(kept)
    return numbers[np.abs(np.arange(len(kept))[:, None] - numbers).argmin(axis=1)]


def _first_component(levels: np.ndarray) -> float:
    """Return the first principal component's share of the variance of `float32[T,N]` over T.

    It is 0 for a still.
    """
    spread = levels - levels.mean(axis=0)
    variances = np.linalg.eigvalsh(spread @ spread.T)
    whole = float(variances.sum())
    return float(variances[-1]) / whole if whole > STILL_SPREAD**2 * spread.size else 0.0


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
