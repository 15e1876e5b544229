"""Video networks that `rewards.metrics.fvd_lite` compares clips by; looking one up imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoNetwork:
    """A network from stretches `uint8[N,16,side,side,3]` to features `float32[N,D]`.

    `as_they_are`: Frechet distances are computed of the features themselves; else every feature is in units of its
    spread in the reference, so that content does not dominate.
    """

    side_px: int
    describe: Callable[[np.ndarray], np.ndarray]
    fingerprint: Callable[[], tuple[float, ...]]
    as_they_are: bool
