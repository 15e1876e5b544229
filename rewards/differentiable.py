"""Rewards that gradients flow through, for training by back-propagation.

A reward's module may have `differentiable(backends)`. It returns the reward's raw measurement as a function of pixels,
without what cannot be differentiated, such as gates; or None where the back end cannot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewards.registry import load_reward
from rewards.time_series import WORST_SHARE

if TYPE_CHECKING:
    from torch import Tensor

    from rewards.calibration import Calibration
    from rewards.mix import Mix

PixelReward = Callable[["Tensor", Sequence[str]], "Tensor"]
"""Scores `float32[B]` of frames `float[B,T,3,H,W]` in 0..1 and B prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differentiable:
    """The raw measurement as a function of pixels, and its name in the calibration."""

    raw: PixelReward
    measurement: str


def half_mean_half_worst(values: "Tensor") -> "Tensor":
    """Return half the mean plus half the mean of the lowest tenth, as `time_series.over_time`."""
    count = max(1, round(WORST_SHARE * len(values)))
    return 0.5 * values.mean() + 0.5 * values.sort().values[:count].mean()


def pixel_reward(mix: "Mix", key: str, calibration: "Calibration") -> PixelReward | None:
    """Return a reward of the mix as a function of pixels; None for one that cannot be differentiated.

    Its scores are mapped by the reward's anchors, 0 the bad and 1 the good one, without the clamp of the value.
    """
    build = getattr(load_reward(key), "differentiable", None)
    found: Differentiable | None = build(mix.backends) if build is not None else None
    if found is None:
        return None
    anchors = calibration.anchors_of(found.measurement)

    def score(frames: "Tensor", prompts: Sequence[str]) -> "Tensor":
        return (found.raw(frames, prompts) - anchors.bad) / (anchors.good - anchors.bad)

    return score
