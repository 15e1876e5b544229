"""The interface of a reward: its description, its function and its result with the reason.

A reward module (`rewards/metrics/<key>.py`) has two public names: `SPEC`, and `score(features) -> RewardResult`.
Higher is better, in [0, 1]. `None` means *not applicable* and carries the reason; a number is always finite.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from rewards.errors import RewardError


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSpec:
    """Description of a reward: its measurement, range and source.

    `question` is the question that the reward answers, in words for the page. `unit` and `low`..`high` describe the
    *raw* value: `low` is typical of a bad clip, `high` of a good one, and low > high when less is better. `needs`
    names the shared features and weights used. `of_prompt`: the reward compares the clip with its prompt.
    """

    key: str
    title: str
    question: str
    unit: str
    low: float
    high: float
    needs: tuple[str, ...] = ()
    per_frame: bool = False
    licence: str = "no weights"
    source: str = ""
    of_prompt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardResult:
    """One reward of one clip.

    `value` is 0..1 or None with a `reason`; `raw` is the measured quantity in its unit.

    `per_frame` is one value per frame in [0, 1] (NaN where a frame has none); `confidence` 0..1; `backend` names the
    back end; `details` are numbers to show with the value, `notes` sentences (such as captions).
    """

    value: float | None
    raw: float | None = None
    reason: str = ""
    backend: str = "numpy"
    confidence: float = 1.0
    per_frame: np.ndarray | None = None
    details: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise RewardError("A reward without a value needs a reason: pass `reason` to RewardResult.")
        if self.value is not None and not (math.isfinite(self.value) and 0 <= self.value <= 1):
            raise RewardError(f"A reward must be a finite number in [0, 1], but got {self.value}.")
        if self.raw is not None and not math.isfinite(self.raw):
            raise RewardError(f"A reward's raw value must be finite, but got {self.raw}.")


def not_applicable(reason: str, **known: float) -> RewardResult:
    """Return the result of a reward that does not apply to this clip, with the reason."""
    return RewardResult(value=None, reason=reason, details=known)
