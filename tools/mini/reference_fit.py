"""Fit the reference set of `fvd_lite` and write its file; rewards/vision/reference_distance.py defines the distance."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewards.errors import RewardError
from rewards.vision.reference_distance import ReferenceFeatures, ShrunkGaussian

FOLDS = 10
LEAST_SPREAD = 1e-3  # of the widest feature; a smaller spread is rounding


def fit_shape(features: np.ndarray, rank: int) -> ShrunkGaussian:
    """Fit a shrunk Gaussian to `float[N,D]`, N >= 2, with up to `rank` directions."""
    rows = features.astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.maximum(spread, LEAST_SPREAD * max(float(spread.max()), 1e-9))
    away = (rows - mean) / spread
    _, values, directions = np.linalg.svd(away, full_matrices=False)
    shrinkage, width = ledoit_wolf(away), away.shape[1]
    sphere = float((away**2).sum()) / len(rows) / width
    variances = (1 - shrinkage) * values**2 / len(rows) + shrinkage * sphere
    kept = min(rank, len(rows) - 1, width - 1)
    total = width * sphere  # shrinking keeps the trace
    rest = (total - float(variances[:kept].sum())) / (width - kept)
    return ShrunkGaussian(
        mean=mean, spread=spread, directions=directions[:kept], variances=variances[:kept], rest=max(rest, 1e-12)
    )


def ledoit_wolf(away: np.ndarray) -> float:
    """Return the best shrinkage of the covariance of centred rows `float64[N,D]` to a sphere, 0..1.

    Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, by products of rows, so that D may be large.
    """
    count, width = away.shape
    products = away @ away.T if count < width else away.T @ away
    sphere = float(np.trace(products)) / count / width
    squared = float((products**2).sum()) / count**2  # |S|^2
    off_sphere = squared / width - sphere**2
    fourth = float(((away**2).sum(axis=1) ** 2).sum())
    noise = (fourth / count - squared) / count / width
    return float(np.clip(noise / max(off_sphere, 1e-300), 0, 1))


def fit_reference(
    clips: Sequence[np.ndarray], groups: Sequence[int], rank: int, notes: dict[str, Any]
) -> ReferenceFeatures:
    """Fit a reference to `clips`, each the features `float[n,D]` of its stretches.

    `groups` names the group of each clip. Distances of members are taken without their group (without a tenth of the
    groups, where there are many).
    """
    names = np.unique(groups)
    folds = np.array_split(names, min(len(names), FOLDS))
    if len(folds) < 2:
        raise RewardError(f"A reference needs at least 2 groups of clips, but got {len(names)}.")
    left_out, inside = [], []
    shape = fit_shape(np.concatenate(clips), rank)
    for fold in folds:
        others = np.concatenate([c for c, g in zip(clips, groups, strict=True) if g not in fold])
        without = fit_shape(others, rank)
        for clip in (c for c, g in zip(clips, groups, strict=True) if g in fold):
            left_out.append(_mean_distance(without, clip))
            inside.append(_mean_distance(shape, clip))
    confidence = min(1.0, float(np.median(inside) / np.median(left_out)))
    return ReferenceFeatures(shape=shape, left_out=np.sort(left_out), confidence=confidence, notes=notes)


def save_reference(reference: ReferenceFeatures, path: Path) -> None:
    """Write one `.npz` file, the directions in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = reference.shape
    np.savez_compressed(
        path,
        mean=shape.mean.astype(np.float32),
        spread=shape.spread.astype(np.float32),
        directions=shape.directions.astype(np.float16),
        variances=shape.variances.astype(np.float32),
        rest=np.float32(shape.rest),
        left_out=reference.left_out.astype(np.float32),
        confidence=np.float32(reference.confidence),
        notes=np.array(json.dumps(reference.notes)),
    )


def _mean_distance(shape: ShrunkGaussian, clip: np.ndarray) -> float:
    inside, outside = shape.distances(clip)
    return float(np.sqrt(inside + outside).mean())
