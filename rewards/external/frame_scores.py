"""Parts of rewards that score single frames: the choice of frames, the clip's score, and grey frames."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from rewards.errors import RewardError


def even_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` evenly spaced frames of `uint8[T,H,W,3]`, with the first and the last."""
    return frames[np.rint(np.linspace(0, len(frames) - 1, min(count, len(frames)))).astype(int)]


def best_frames_mean(scores: Sequence[float], share: float = 0.3) -> float:
    """Return the mean of the best `share` (0..1) of the frames' scores, at least of one frame.

    A mean over all frames would be ruled by one bad frame or a fade (GenRL, UniRL).

    Raises RewardError for no scores, or one that is not finite.
    """
    if not scores or not all(math.isfinite(score) for score in scores):
        raise RewardError(f"The scores of the frames must be finite and at least one, but are {list(scores)[:8]}.")
    best = sorted(scores, reverse=True)[: max(1, round(share * len(scores)))]
    return math.fsum(best) / len(best)


def grey_frames(frames: np.ndarray) -> np.ndarray:
    """Return frames `uint8[T,H,W,3]` without colour, so that a score of motion cannot be raised by colour."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.repeat(np.stack(grey)[..., None], 3, axis=-1)
