"""Stored reports as values for display: one `Score` per reward, in the order of the mix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.text import score
from engine.config.presets import load_preset
from engine.errors import DailiesError, RewardError
from rewards import RewardReport, RewardResult, RewardSpec, is_reward, known_rewards, reward_spec
from rewards.calibration import measures_alike, mix_calibration
from rewards.mix import NOT_APPLICABLE

GATE_OPEN = 0.995  # below this a penalty lowers the total by more than rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One reward of one clip, and its weight in the mix."""

    spec: RewardSpec
    result: RewardResult
    weight: float

    @property
    def value(self) -> float | None:
        """0..1, or None with a `result.reason`."""
        return self.result.value

    @property
    def per_frame(self) -> list[float | None]:
        """One value per frame in 0..1, None for a frame without one; empty if the reward has no such values."""
        series = [] if self.result.per_frame is None else self.result.per_frame.tolist()
        return [value if math.isfinite(value) else None for value in series]


def scores(stored: Mapping[str, Any] | None) -> list[Score]:
    """Return the rewards of a stored report; empty if the clip was not scored."""
    if not stored:
        return []
    report = RewardReport.from_dict(stored)
    return [
        Score(spec=spec_of(key), result=result, weight=report.weights.get(key, 0.0))
        for key, result in report.results.items()
    ]


def remarks(stored: Mapping[str, Any] | None) -> list[str]:
    """Return sentences on a report: rewards that were omitted, and penalties that lowered the total."""
    if not stored:
        return []
    report = RewardReport.from_dict(stored)
    unjudged = [score.unjudged([spec_of(key).title for key in report.unjudged])] if report.unjudged else []
    return [
        *([score.OLD_REPORT] if is_old(stored) else []),
        *_omitted(report.notes),
        *unjudged,
        *(score.gate(key, level) for key, level in report.gates.items() if level < GATE_OPEN),
    ]


def is_old(stored: Mapping[str, Any]) -> bool:
    """Return True if a report's calibration differs from that of its mix now; False if that is unknown."""
    try:
        present = mix_calibration(load_preset("rewards", str(stored.get("mix"))))
        return not measures_alike(stored.get("calibration"), present)
    except (DailiesError, RewardError):
        return False


def _omitted(notes: Sequence[str]) -> list[str]:
    """Return the notes of a mix; one sentence names all rewards that do not apply."""
    absent = [note for note in notes if note.endswith(NOT_APPLICABLE)]
    titles = [spec_of(note.partition(" ")[0]).title for note in absent]
    rest = [_with_title(note) for note in notes if note not in absent]
    return [*([score.not_applicable(titles)] if titles else []), *rest]


def _with_title(note: str) -> str:
    """Return a note of a mix, which begins with the key of a reward, with its title instead."""
    key, space, rest = note.partition(" ")
    return f"{spec_of(key).title}{space}{rest}" if is_reward(key) else note


def reward_titles() -> dict[str, str]:
    """Return the titles of all rewards by key."""
    return {key: spec_of(key).title for key in known_rewards()}


def spec_of(key: str) -> RewardSpec:
    """Return the spec of a reward; for a reward that was removed since, a placeholder named by its key."""
    try:
        return reward_spec(key)
    except RewardError:
        return RewardSpec(key=key, title=key, question="", unit="", low=0.0, high=1.0)
