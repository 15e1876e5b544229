"""Agreement of each reward, and of the mix's total, with votes."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.labelling.preference_pairs import PairTally, tally_pairs
from engine.labelling.stats.agreement import Proportion, wilson
from engine.labelling.stats.pair_selection import Scores
from engine.labelling.votes import StoredVote

TOTAL = "total"
"""Key of the mix's total among the rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardAgreement:
    """Agreement of one reward with votes.

    `accuracy` is the share of pairs with a preferred clip where the reward gives that clip the higher value. Equal
    values count as half a hit, so `accuracy` can be between two shares of `counted`. `tau` is Kendall's tau-b between
    the differences of the reward and of the votes over pairs, `ranking_tau` that between the entrants' mean reward and
    mean score; -1..1, None with fewer than two different values. `pairs` counts the pairs with both values.
    """

    reward: str
    accuracy: float | None
    counted: Proportion
    tau: float | None
    ranking_tau: float | None
    pairs: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, 0..1."""
        return wilson((self.accuracy or 0.0) * self.counted.count, self.counted.count)


def scores_by_clip(reports: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, float | None]]:
    """Return rewards by clip from stored reports (`Library.reports`), including the mix's total."""
    scores: dict[str, dict[str, float | None]] = {}
    for clip_id, report in reports.items():
        results, total = report["results"], report["total"]
        assert isinstance(results, Mapping), "a report holds results by reward"
        scores[clip_id] = {key: result["value"] for key, result in results.items()}
        scores[clip_id][TOTAL] = total if isinstance(total, float | int) else None
    return scores


def agreement_by_reward(votes: Iterable[StoredVote], scores: Scores, axis: str | None = None) -> list[RewardAgreement]:
    """Compare each reward in `scores` with the votes, overall or on an axis of the rubric.

    Most accurate first.
    """
    tallies = tally_pairs(votes, axis)
    rewards = sorted({reward for values in scores.values() for reward in values})
    agreements = [_agreement(reward, tallies, scores) for reward in rewards]
    return sorted(agreements, key=lambda item: -1.0 if item.accuracy is None else item.accuracy, reverse=True)


def _agreement(reward: str, tallies: Sequence[PairTally], scores: Scores) -> RewardAgreement:
    scored = [(tally, a - b) for tally in tallies for a, b in [_values(reward, tally, scores)] if _are_finite(a, b)]
    decided = [(tally.score - 0.5, difference) for tally, difference in scored if tally.score != 0.5]
    right = sum(preference * difference > 0 for preference, difference in decided)
    equal = sum(difference == 0 for _, difference in decided)
    return RewardAgreement(
        reward=reward,
        accuracy=(right + equal / 2) / len(decided) if decided else None,
        counted=Proportion(hits=right, count=len(decided)),
        # The order of a pair's clips is arbitrary, so each pair is counted in both orders.
        tau=_tau(
            [s * (tally.score - 0.5) for tally, _ in scored for s in (1, -1)],
            [s * difference for _, difference in scored for s in (1, -1)],
        ),
        ranking_tau=_ranking_tau(reward, [tally for tally, _ in scored], scores),
        pairs=len(scored),
    )


def _values(reward: str, tally: PairTally, scores: Scores) -> tuple[float, float]:
    """Return the reward's values of clips a and b, NaN for a missing one."""
    a, b = (scores.get(clip, {}).get(reward) for clip in (tally.clip_a, tally.clip_b))
    return (math.nan if a is None else a, math.nan if b is None else b)


def _are_finite(a: float, b: float) -> bool:
    return math.isfinite(a) and math.isfinite(b)


def _ranking_tau(reward: str, tallies: Sequence[PairTally], scores: Scores) -> float | None:
    votes: dict[str, list[float]] = defaultdict(list)
    rewards: dict[str, list[float]] = defaultdict(list)
    for tally in tallies:
        a, b = _values(reward, tally, scores)
        for entrant, score, value in ((tally.entrant_a, tally.score, a), (tally.entrant_b, 1 - tally.score, b)):
            votes[entrant].append(score)
            rewards[entrant].append(value)
    names = sorted(votes)
    return _tau([float(np.mean(votes[name])) for name in names], [float(np.mean(rewards[name])) for name in names])


def _tau(votes: Sequence[float], rewards: Sequence[float]) -> float | None:
    if len(set(votes)) < 2 or len(set(rewards)) < 2:
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(votes, rewards).statistic)
