"""How far each reward, and the mix's total, agrees with people."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from engine.labelling.stats.agreement import Proportion, wilson
from engine.labelling.stats.pair_selection import Scores
from engine.labelling.vote_tallies import PairTally, tally_pairs
from engine.labelling.votes import StoredVote

TOTAL = "total"
"""The key of the mix's total among the rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardAgreement:
    """One reward against people. `accuracy`: pairs with a preferred clip to which it gives the higher value, an equal
    value being half a hit (so `accuracy` may lie between two shares of `counted`). `tau`: Kendall's tau-b between its
    difference and people's over pairs, `ranking_tau` between the entrants' mean reward and their mean score; -1..1,
    None for fewer than two that differ. `pairs`: how many had a value for both clips."""

    reward: str
    accuracy: float | None
    counted: Proportion
    tau: float | None
    ranking_tau: float | None
    pairs: int

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %, 0..1."""
        return wilson((self.accuracy or 0.0) * self.counted.count, self.counted.count)


def scores_of(reports: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, float | None]]:
    """Rewards by clip from stored reports (`Library.reports`), the mix's total among them."""
    found: dict[str, dict[str, float | None]] = {}
    for clip_id, report in reports.items():
        results, total = report["results"], report["total"]
        assert isinstance(results, Mapping), "a report holds results by reward"
        found[clip_id] = {key: result["value"] for key, result in results.items()}
        found[clip_id][TOTAL] = total if isinstance(total, float | int) else None
    return found


def against_rewards(votes: Iterable[StoredVote], scores: Scores, axis: str | None = None) -> list[RewardAgreement]:
    """Each reward that occurs in `scores` against what people said overall, or on an axis of the rubric; the most
    accurate first."""
    told = tally_pairs(votes, axis)
    rewards = sorted({reward for values in scores.values() for reward in values})
    found = [_agreement(reward, told, scores) for reward in rewards]
    return sorted(found, key=lambda one: -1.0 if one.accuracy is None else one.accuracy, reverse=True)


def _agreement(reward: str, told: Sequence[PairTally], scores: Scores) -> RewardAgreement:
    known = [
        (one, left - right) for one in told for left, right in [_values(reward, one, scores)] if _both(left, right)
    ]
    decided = [(one.score - 0.5, difference) for one, difference in known if one.score != 0.5]
    right = sum(people * difference > 0 for people, difference in decided)
    equal = sum(difference == 0 for _, difference in decided)
    return RewardAgreement(
        reward=reward,
        accuracy=(right + equal / 2) / len(decided) if decided else None,
        counted=Proportion(hits=right, count=len(decided)),
        # Which clip of a pair is called a means nothing: each pair is counted both ways round.
        tau=_tau(
            [s * (one.score - 0.5) for one, _ in known for s in (1, -1)], [s * d for _, d in known for s in (1, -1)]
        ),
        ranking_tau=_ranking_tau(reward, [one for one, _ in known], scores),
        pairs=len(known),
    )


def _values(reward: str, one: PairTally, scores: Scores) -> tuple[float, float]:
    """NaN where the reward has no value for a clip."""
    left, right = (scores.get(clip, {}).get(reward) for clip in (one.clip_a, one.clip_b))
    return (math.nan if left is None else left, math.nan if right is None else right)


def _both(left: float, right: float) -> bool:
    return math.isfinite(left) and math.isfinite(right)


def _ranking_tau(reward: str, told: Sequence[PairTally], scores: Scores) -> float | None:
    people: dict[str, list[float]] = defaultdict(list)
    rewards: dict[str, list[float]] = defaultdict(list)
    for one in told:
        left, right = _values(reward, one, scores)
        for entrant, score, value in ((one.entrant_a, one.score, left), (one.entrant_b, 1 - one.score, right)):
            people[entrant].append(score)
            rewards[entrant].append(value)
    names = sorted(people)
    return _tau([float(np.mean(people[name])) for name in names], [float(np.mean(rewards[name])) for name in names])


def _tau(people: Sequence[float], rewards: Sequence[float]) -> float | None:
    if len(set(people)) < 2 or len(set(rewards)) < 2:
        return None
    return float(kendalltau(people, rewards).statistic)
