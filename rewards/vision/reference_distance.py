"""Distance of a sample from a reference set, for single clips, which have no Frechet distance.

With n samples of D features and n < D the covariance is singular, and deviations outside its subspace (most faults of
clips) do not count. It is therefore shrunk towards a sphere by Ledoit & Wolf's rule, and the distance has two parts:
inside the subspace of the k strongest directions, and the residual outside it:

    z^2 = ( sum_i<k (u_i . y)^2 / v_i  +  |residual of y|^2 / rest ) / D,        y = (x - m) / s a feature

with every feature in units of its own spread s in the reference.

A reference holds the distances of its own members when they are left out of it; a distance is compared with them.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from rewards.errors import RewardError

TYPICAL, EDGE = 0.5, 0.95  # quantiles of the reference's own distances
LEAST_SLOPE = 0.1  # of the logarithm of the distance


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrunkGaussian:
    """A shrunk Gaussian: `mean` and `spread` [D], `directions` [k,D], `variances` [k], `rest` for others."""

    mean: np.ndarray
    spread: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float

    def distances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return squared distances over D inside and outside the subspace, of `float[N,D]`: two `float64[N]`."""
        away = (features.astype(np.float64) - self.mean) / self.spread
        along = away @ self.directions.T
        width = away.shape[1]
        outside = (away**2).sum(axis=1) - (along**2).sum(axis=1)
        return (along**2 / self.variances).sum(axis=1) / width, np.maximum(outside, 0) / self.rest / width


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFeatures:
    """A frozen reference set.

    `left_out` are the sorted distances of its members, each without its own group.

    `confidence` 0..1 is the ratio of the distances with and without their group: near 1 for a dense reference, small
    for a few films. `notes` describe its origin.
    """

    shape: ShrunkGaussian
    left_out: np.ndarray
    confidence: float
    notes: dict[str, Any]

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return `float64[N]`: sqrt(z^2) of each of `float[N,D]`; about 1 for samples like the reference."""
        return np.sqrt(sum(self.shape.distances(features)))

    def percentile(self, distance: float) -> float:
        """Return the share of the reference's members that are at least as far away, 0..1."""
        return float((self.left_out >= distance).mean())

    def likeness(self, distance: float) -> float:
        """Return 1 for a typical sample, one half at the edge of the reference, and towards 0 beyond it.

        A logistic curve of the logarithm of the distance; its slope is the reference's own spread.
        """
        typical, edge = np.log(np.quantile(self.left_out, [TYPICAL, EDGE]))
        slope = max(float(edge - typical) / 3, LEAST_SLOPE)
        return float(1 / (1 + np.exp(np.clip((np.log(max(distance, 1e-9)) - edge) / slope, -50, 50))))


def read_reference_file(path: Path) -> ReferenceFeatures:
    """Read a file of `tools.mini.reference_fit.save_reference`.

    Raises RewardError for a damaged file or one of another kind.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            shape = ShrunkGaussian(
                mean=stored["mean"].astype(np.float64),
                spread=stored["spread"].astype(np.float64),
                directions=stored["directions"].astype(np.float64),
                variances=stored["variances"].astype(np.float64),
                rest=float(stored["rest"]),
            )
            notes = json.loads(str(stored["notes"]))
            left_out, confidence = stored["left_out"].astype(np.float64), float(stored["confidence"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise RewardError(f"The reference file {path.name} is damaged: restore it, or make it again.") from error
    return ReferenceFeatures(shape=shape, left_out=left_out, confidence=confidence, notes=notes)
