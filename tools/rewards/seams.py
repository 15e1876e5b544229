"""Artificial seams: defects at the joint of two windows, applied to seamless clips.

Each maker takes `uint8[T,H,W,3]` and the frame `at` where the second window starts, and returns the same shape.
"""

from collections.abc import Callable

import cv2
import numpy as np

Maker = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def skip(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Skip 4 to 12 frames at the seam."""
    ahead = np.arange(len(frames)) + (np.arange(len(frames)) >= at) * int(rng.integers(4, 13))
    return frames[np.minimum(ahead, len(frames) - 1)]


def turn_back(frames: np.ndarray, at: int, _rng: np.random.Generator) -> np.ndarray:
    """Play backward from the seam on."""
    index = np.arange(len(frames))
    return frames[np.where(index < at, index, np.maximum(2 * at - 1 - index, 0))]


def relight(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Change exposure and colour balance after the seam: each channel by 3 to 15 %."""
    gains = 1 + rng.uniform(0.03, 0.15, 3) * rng.choice([-1, 1])
    changed = np.clip(np.rint(frames[at:] * gains), 0, 255).astype(np.uint8)
    return np.concatenate([frames[:at], changed])


def shift(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Shift the frames after the seam by 1.5 to 6 % of the short side."""
    height, width = frames.shape[1:3]
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.015, 0.06) * min(height, width)
    move = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]])
    moved = [cv2.warpAffine(f, move, (width, height), borderMode=cv2.BORDER_REFLECT) for f in frames[at:]]
    return np.concatenate([frames[:at], np.stack(moved)])


def freeze(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Freeze the 4 to 10 frames before the seam."""
    held = int(rng.integers(4, 11))
    index = np.arange(len(frames))
    return frames[np.where((index >= at - held) & (index < at), at - held, index)]


def swap(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Mirror the frames after the seam: other content with the same colours."""
    axis = int(rng.integers(1, 3))
    return np.concatenate([frames[:at], np.flip(frames[at:], axis)])


def soften(frames: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """Skip 3 frames and blur the second window by 0.5 to 1.5 % of the short side."""
    sigma = rng.uniform(0.005, 0.015) * min(frames.shape[1:3])
    index = np.minimum(np.arange(at, len(frames)) + 3, len(frames) - 1)
    return np.concatenate([frames[:at], np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in frames[index]])])


MAKERS: dict[str, Maker] = {
    "skip": skip,
    "turn_back": turn_back,
    "relight": relight,
    "shift": shift,
    "freeze": freeze,
    "swap": swap,
    "soften": soften,
}


def blend(first: np.ndarray, second: np.ndarray, at: int, frames: int) -> np.ndarray:
    """Join `first` and `second` at `at`, mixed linearly over the `frames` frames before it (1: no mixing)."""
    share = np.clip((np.arange(len(first)) - (at - frames)) / max(frames, 1), 0, 1)[:, None, None, None]
    return np.clip(np.rint(first * (1 - share) + second * share), 0, 255).astype(np.uint8)
