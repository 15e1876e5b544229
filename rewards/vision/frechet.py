"""Frechet distance between two sets of features, with the numbers of samples and a bootstrap interval.

    d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2)        (Dowson & Landau 1982; FID, FVD)

With S1 = A'A and S2 = B'B (rows are samples about their mean, over sqrt(n - 1)) the last trace is the sum of the
singular values of A B': no matrix root is needed, and fewer samples than dimensions are no special case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewards.errors import RewardError

CONFIDENCE = 0.95
LEAST_CLIPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FrechetReport:
    """`distance` (squared, as FVD gives it), its bootstrap interval `low`..`high`, set sizes and back end.

    The distance is biased upward with few samples, so two distances compare only when `num_first`, `num_second` and
    `backend` are the same; below 256 clips it is of little use.
    """

    distance: float
    low: float
    high: float
    num_first: int
    num_second: int
    backend: str


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Frechet distance of Gaussians fitted to `float[N,D]` and `float[M,D]`, N, M >= 2.

    Raises RewardError for fewer rows, or widths that differ.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise RewardError(
            f"A Frechet distance needs features [N,D] and [M,D] with N, M >= 2, got {first.shape} and {second.shape}."
        )
    (mean1, a), (mean2, b) = _centred(first), _centred(second)
    shared = float(np.linalg.svd(_short(a) @ _short(b).T, compute_uv=False).sum())
    squared = float(((mean1 - mean2) ** 2).sum() + (a**2).sum() + (b**2).sum()) - 2 * shared
    return max(0.0, squared)


def frechet_between(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    *,
    backend: str = "",
    resamples: int = 200,
    seed: int = 0,
) -> FrechetReport:
    """Return the distance between two sets of clips, each clip the features `float[n,D]` of its stretches.

    The interval is a basic bootstrap over clips, because stretches of one clip are no independent samples: 2 d - q,
    which removes the bias of drawing with replacement. Raises RewardError for fewer than 2 clips a set.
    """
    if min(len(first), len(second)) < LEAST_CLIPS:
        raise RewardError(f"A Frechet distance needs 2 clips on each side, got {len(first)} and {len(second)}.")
    distance = frechet_distance(np.concatenate(first), np.concatenate(second))
    rng = np.random.default_rng(seed)
    drawn = [frechet_distance(_resampled(first, rng), _resampled(second, rng)) for _ in range(resamples)]
    tail = (1 - CONFIDENCE) / 2
    upper, lower = np.quantile(drawn, [1 - tail, tail])
    return FrechetReport(
        distance=distance,
        low=max(0.0, 2 * distance - float(upper)),
        high=max(0.0, 2 * distance - float(lower)),
        num_first=len(first),
        num_second=len(second),
        backend=backend,
    )


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean, and the rows about it over sqrt(n - 1), whose squares sum to the trace."""
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    return mean, (rows - mean) / np.sqrt(len(rows) - 1)


def _short(rows: np.ndarray) -> np.ndarray:
    """Return a matrix with the same product A'A and at most as many rows as columns."""
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


def _resampled(clips: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw as many clips with replacement, at least two of them different."""
    while len(set(chosen := rng.integers(len(clips), size=len(clips)).tolist())) < LEAST_CLIPS:
        pass
    return np.concatenate([clips[n] for n in chosen])
