"""The strongest repetition in a clip: the same changes again some frames later, or mirrored in time.

S(L) is the energy-weighted cosine between changes (differences of neighbouring thumbnails) L frames apart, for L of 8
frames to 5 s, as prominence over the lags around it; M(c) the same for changes mirrored about frame c with the sign
turned, which finds a to-and-fro. Thumbnails have their brightness and contrast taken out, so flicker repeats nothing.
Walking or waves are periodic but not pixel by pixel: only a similarity near 1 is the same picture again.

source      recurrence in self-similarity matrices (Cutler & Davis 2000, doi:10.1109/34.868681)
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures

SHORTEST_FRAMES = 8
LEAST_FRAMES = 2 * SHORTEST_FRAMES + 1
LONGEST_S = 5.0
THUMB_PX = 32
# Films stay under 0.55, a shape that goes round in circles under 0.83 even when blurred; the same pictures again
# measure 0.97 to 1.
REPEATS = (0.82, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The strongest repetition found. `similarity` 0..1; `frames` is the lag, or the turning point if `mirrored`."""

    similarity: float
    frames: int
    mirrored: bool


def find_repetition(features: ClipFeatures) -> Repetition:
    """Of a clip of at least 17 frames; shared by those who ask."""
    clip = features.clip
    return features.once("repetition", lambda: strongest_repetition(thumbnail_changes(features), clip.fps))


def thumbnail_changes(features: ClipFeatures) -> np.ndarray:
    """`float32[T-1,32*32]`: what changed between neighbouring thumbnails of equal brightness and contrast."""
    return features.once("thumbnail_changes", lambda: np.diff(thumbnails(features), axis=0))


def thumbnails(features: ClipFeatures) -> np.ndarray:
    """`float32[T,32*32]`: small gray pictures, mean 0, all with the clip's median contrast."""
    return features.once("thumbnails", lambda: _thumbnails(features.gray))


def strongest_repetition(changes: np.ndarray, fps: float) -> Repetition:
    """The best of all lags and of all turning points."""
    products = changes @ changes.T
    norms = np.sqrt(np.diagonal(products))
    sizes = np.outer(norms, norms) + 1e-6
    lag, repeated = _best_lag(products, sizes, fps)
    turn, mirrored = _best_turn(products, sizes)
    if mirrored > repeated:
        return Repetition(similarity=mirrored, frames=turn, mirrored=True)
    return Repetition(similarity=repeated, frames=lag, mirrored=False)


def _best_lag(products: np.ndarray, sizes: np.ndarray, fps: float) -> tuple[int, float]:
    """Lag in frames and its prominence: similarity, or less where the lags around are just as similar."""
    count = len(products)
    lags = np.arange(1, count - SHORTEST_FRAMES + 1)
    similar = np.array([np.diagonal(products, k).sum() / np.diagonal(sizes, k).sum() for k in lags])
    allowed = lags[(lags >= SHORTEST_FRAMES) & (lags <= max(SHORTEST_FRAMES, LONGEST_S * fps))]
    prominent = [min(similar[k - 1], similar[k - 1] - similar[k // 2 : k].min()) for k in allowed]
    best = int(np.argmax(prominent))
    return int(allowed[best]), float(np.clip(prominent[best], 0, 1))


def _best_turn(products: np.ndarray, sizes: np.ndarray) -> tuple[int, float]:
    """Frame at which time turns round, and how well what follows mirrors what came before."""
    count = len(products)
    best = (0, 0.0)
    for turn in range(SHORTEST_FRAMES, count - SHORTEST_FRAMES + 1):
        after = np.arange(min(turn, count - turn, 3 * SHORTEST_FRAMES))
        pairs = (turn - 1 - after, turn + after)
        mirrored = -float(products[pairs].sum() / sizes[pairs].sum())
        best = max(best, (turn, mirrored), key=lambda found: found[1])
    return best[0], float(np.clip(best[1], 0, 1))


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
