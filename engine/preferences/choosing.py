"""Which pair to ask about next. Pure: from what is known to an order of pair ids.

uncertain   the pair whose vote is expected to narrow the ranking's intervals most, the widest above all (optimal design
            under the Bradley-Terry model): entrants that are little known and whose meeting is open
dissent     the pair on which the rewards contradict the current ranking most: a vote there tells which of them errs
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.preferences.bradley_terry import Strengths, covariance

# Variances are weighted by this power of themselves: 0 is their plain sum, infinity the widest alone. Chosen among 0,
# 2, 4, 8 and 16 on simulated votes of three seeds, by how many votes the *widest* interval needs: 8 saved 27 % against
# chance with 8 entrants from -2 to 2, 35 % from -3 to 3, 31 % with 12 from -2.5 to 2.5; on six fresh seeds from -3 to
# 3, 38 %. For the *mean* width of the intervals no power saved more than 9 %.
WIDEST = 8
Scores = Mapping[str, Mapping[str, float | None]]
"""Rewards by clip id: 0..1 by reward, None or absent where it does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pair that could be asked about; `one` and `other` are its entrants' places in the ranking's arrays."""

    pair_id: str
    one: int
    other: int
    clip_a: str
    clip_b: str


def uncertain_first(free: Sequence[Candidate], met: np.ndarray, strengths: Strengths, count: int) -> list[str]:
    """`count` pairs, the most telling first, each chosen as if those before it had been voted on.

    `met[N,N]` is how often entrants met, votes still awaited included. Of the pairs of the same two entrants, the one
    that `free` has first is taken first.
    """
    waiting: dict[tuple[int, int], list[str]] = defaultdict(list)
    for one in reversed(free):
        waiting[min(one.one, one.other), max(one.one, one.other)].append(one.pair_id)
    possible = np.zeros(met.shape, bool)
    for place in waiting:
        possible[place] = place[0] != place[1]
    known, information = covariance(met, strengths), strengths.chances().information
    chosen: list[str] = []
    while len(chosen) < count and possible.any():
        gains = np.where(possible, _gain(known, information), -1.0)
        i, j = (int(place) for place in np.unravel_index(gains.argmax(), gains.shape))
        chosen.append(waiting[i, j].pop())
        possible[i, j] = bool(waiting[i, j])
        known = _after_vote(known, information, i, j)
    return chosen


def dissent_first(free: Sequence[Candidate], scores: Scores, strengths: Strengths, count: int) -> list[str]:
    """`count` pairs, those first where the share of rewards that prefer a clip is furthest from its chance to win.

    Pairs whose clips are not scored come last, in the order of `free`.
    """
    expected = strengths.chances().score
    dissent = {one.pair_id: _dissent(one, scores, float(expected[one.one, one.other])) for one in free}
    return sorted(dissent, key=lambda pair_id: -dissent[pair_id])[:count]


def reward_differences(scores: Scores, clip_a: str, clip_b: str) -> dict[str, float]:
    """How much better clip a is than clip b, -1..1, by each reward that has a value for both."""
    left, right = scores.get(clip_a, {}), scores.get(clip_b, {})
    return {key: a - b for key, a in left.items() if a is not None and (b := right.get(key)) is not None}


def _dissent(pair: Candidate, scores: Scores, expected: float) -> float:
    differences = reward_differences(scores, pair.clip_a, pair.clip_b).values()
    return abs(_share_for(differences) - expected) if differences else -1.0


def _share_for(differences: Iterable[float]) -> float:
    return float(np.mean([0.5 + 0.5 * np.sign(difference) for difference in differences]))


def _gain(known: np.ndarray, information: np.ndarray) -> np.ndarray:
    """`[N,N]`: what a vote on i and j would take off the strengths' variances (Sherman-Morrison), wide ones weighing
    far more."""
    variance = np.diag(known)
    weights = (variance / variance.max()) ** WIDEST
    narrowed = _of_differences(known @ (weights[:, None] * known))
    return information * narrowed / (1 + information * _of_differences(known))


def _of_differences(matrix: np.ndarray) -> np.ndarray:
    """`d' M d` for every `d = e_i - e_j`."""
    diagonal = np.diag(matrix)
    return diagonal[:, None] + diagonal[None, :] - 2 * matrix


def _after_vote(known: np.ndarray, information: np.ndarray, i: int, j: int) -> np.ndarray:
    towards = known[:, i] - known[:, j]
    weight = information[i, j] / (1 + information[i, j] * (towards[i] - towards[j]))
    return known - weight * np.outer(towards, towards)
