"""The interface of what computes an external reward, its answers, and their validation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rewards.clip import Clip

if TYPE_CHECKING:
    from rewards.features import ClipFeatures

ONLY = ""
"""Name of the score of a reward without sub-scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScores:
    """The raw scores of one clip by name; None does not apply, for `reason`.

    `error`: the call failed, no scores. `details` are numbers to show with the scores.
    """

    scores: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""
    error: str = ""
    confidence: float = 1.0
    details: Mapping[str, float] = field(default_factory=dict)


class CallFailed(Exception):
    """A call failed; the text is a sentence without secrets.

    Clients turn it into `ClipScores` with an `error`.
    """


class RewardClient(Protocol):
    """A client scores clips; a failure is an answer with an `error`, never an exception or a number."""

    @property
    def identity(self) -> str:
        """Model and version, as far as they are known."""
        ...

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]: ...

    def close(self) -> None: ...


@runtime_checkable
class ComparingClient(RewardClient, Protocol):
    """A client whose scores of a clip may depend on the other clips of the call."""

    @property
    def compares(self) -> bool:
        """True when they do: then all clips of a prompt have to be scored in one call."""
        ...


@runtime_checkable
class FeaturesClient(RewardClient, Protocol):
    """A client that scores the shared features of clips, so that it computes none of them again."""

    def score_features(self, group: "Sequence[ClipFeatures]") -> list[ClipScores]: ...


def compares_clips(client: RewardClient) -> bool:
    """Return True when the client's score of a clip depends on the other clips of the call."""
    return isinstance(client, ComparingClient) and client.compares


def checked_answer(scores: Any, names: Sequence[str], where: str, reason: str = "") -> ClipScores:
    """Return an answer whose scores are finite numbers or None and have exactly the declared names.

    A single number is the score of a reward without sub-scores. Anything else is an answer with an error.
    """
    if not isinstance(scores, Mapping):
        if tuple(names) != (ONLY,):
            return ClipScores(error=f"{where} answered {_shown(scores)} instead of the scores {', '.join(names)}.")
        scores = {ONLY: scores}
    if set(scores) != set(names):
        expected = "one number" if tuple(names) == (ONLY,) else f"the scores {', '.join(names)}"
        return ClipScores(error=f"{where} answered the scores {', '.join(map(str, scores))} instead of {expected}.")
    numbers: dict[str, float | None] = {}
    for name, value in scores.items():
        number = _number(value)
        if number is not None and not math.isfinite(number):
            of = f" for {name}" if name else ""
            return ClipScores(error=f"{where} answered {_shown(value)}{of}, which is no finite number.")
        numbers[name] = number
    if None in numbers.values() and not reason:
        reason = f"{where} gave no score for this clip."
    return ClipScores(scores=numbers, reason=reason)


def _number(value: Any) -> float | None:
    """Return a number as a float, None for None, and NaN for everything that is no number."""
    if value is None:
        return None
    if isinstance(value, bool | str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
