"""Which pair to ask about next. Pure: from what is known to an order of pair ids.

uncertain   the pair whose vote is expected to narrow the ranking's intervals most, the widest above all (optimal design
            under the Bradley-Terry model): entrants that are little known and whose meeting is open, and of their pairs
            one that nobody was asked about yet
dissent     the pair on which the rewards contradict the current ranking most: a vote there tells which of them errs
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.labelling.stats.bradley_terry import Strengths, covariance

# Variances are weighted by this power of themselves: 0 is their plain sum, infinity the widest alone. Chosen among 0,
# 2, 4, 8 and 16 on simulated votes by how many votes the widest interval needs; the mean of all needs as few as with
# any other of them, to within 2 %.
WIDEST = 8
# How much votes of several people on one pair are expected to be one opinion: the share of what the entrants' strengths
# leave open that the pair's two clips settle. The more it is, the less a second person's vote tells of the entrants.
SAME_PAIR = 0.4
Scores = Mapping[str, Mapping[str, float | None]]
"""Rewards by clip id: 0..1 by reward, None or absent where it does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pair that could be asked about; `one` and `other` are its entrants' places in the ranking's arrays. `asked` of
    the `wanted` people were asked already."""

    pair_id: str
    one: int
    other: int
    clip_a: str
    clip_b: str
    asked: int = 0
    wanted: int = 1


def vote_information(people: float) -> float:
    """How many votes on as many pairs tell as much of the entrants as the votes of so many people on one pair."""
    return people / (1 + (people - 1) * SAME_PAIR) if people else 0.0


def uncertain_first(free: Sequence[Candidate], met: np.ndarray, strengths: Strengths, count: int) -> list[str]:
    """`count` askings, the most telling first, each chosen as if those before it had been voted on; a pair that more
    people are wanted for may occur more than once.

    `met[N,N]` is how often entrants met, votes still awaited included, those on one pair counted by `vote_information`.
    Of the
    pairs of the same two entrants one that few were asked about is taken first, then the one that `free` has first.
    """
    waiting = _Waiting(free, met.shape)
    known, information = covariance(met, strengths), strengths.chances().information
    chosen: list[str] = []
    while len(chosen) < count and waiting.worth.any():
        told = information * waiting.worth
        gains = np.where(waiting.worth > 0, _gain(known, told), -1.0)
        i, j = (int(place) for place in np.unravel_index(gains.argmax(), gains.shape))
        known = _after_vote(known, told, i, j)
        chosen.append(waiting.take(i, j))
    return chosen


class _Waiting:
    """The pairs of each two entrants, the one to ask about next on top. `worth[N,N]`: how much of a vote a vote on that
    one is, 0 where there is none."""

    def __init__(self, free: Sequence[Candidate], shape: tuple[int, ...]) -> None:
        self.worth = np.zeros(shape)
        self._pairs: dict[tuple[int, int], list[tuple[int, int, Candidate]]] = defaultdict(list)
        for place, one in enumerate(free):
            if one.one != one.other:
                heapq.heappush(self._pairs[min(one.one, one.other), max(one.one, one.other)], (one.asked, place, one))
        for i, j in self._pairs:
            self._weigh(i, j)

    def take(self, i: int, j: int) -> str:
        asked, place, one = heapq.heappop(self._pairs[i, j])
        if asked + 1 < one.wanted:
            heapq.heappush(self._pairs[i, j], (asked + 1, place, one))
        self._weigh(i, j)
        return one.pair_id

    def _weigh(self, i: int, j: int) -> None:
        asked = self._pairs[i, j][0][0] if self._pairs[i, j] else None
        self.worth[i, j] = 0.0 if asked is None else vote_information(asked + 1) - vote_information(asked)


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
    """`[N,N]`: what a vote on i and j with so much `information` would take off the strengths' variances
    (Sherman-Morrison), wide ones weighing far more."""
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
