"""Selection of the next pairs to assign. Pure functions that return an order of pair ids.

informative   the pair whose vote is expected to narrow the ranking's intervals most, above all the widest ones (optimal
              design under the Bradley-Terry model): entrants with few votes and similar strengths, preferring pairs
              without votes
disagreement  the pair on which the rewards contradict the current ranking most: a vote there shows which of them is
              wrong
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.labelling.stats.bradley_terry import Strengths, covariance

# Variances are weighted by this power of themselves: 0 gives their plain sum, infinity the widest alone. Chosen among
# 0, 2, 4, 8 and 16 on simulated votes for the fewest votes to narrow the widest interval. The number of votes to narrow
# the mean interval differs by at most 2 % between these values.
VARIANCE_POWER = 8
# Expected correlation of several labellers' votes on one pair: the share of the outcome, beyond the entrants'
# strengths, that the pair's two clips determine. The higher it is, the less a second vote on a pair adds.
SAME_PAIR_CORRELATION = 0.4
Scores = Mapping[str, Mapping[str, float | None]]
"""Reward values 0..1 by clip id and reward; None or absent where a reward does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pair that could be assigned.

    `entrant_a` and `entrant_b` are indices into the ranking's arrays. `assigned` of the pair's `slots` are taken.
    """

    pair_id: str
    entrant_a: int
    entrant_b: int
    clip_a: str
    clip_b: str
    assigned: int = 0
    slots: int = 1


def vote_information(votes: float) -> float:
    """Return the effective number of independent votes of this many correlated votes on one pair."""
    return votes / (1 + (votes - 1) * SAME_PAIR_CORRELATION) if votes else 0.0


def informative_first(
    free: Sequence[Candidate], comparisons: np.ndarray, strengths: Strengths, count: int
) -> list[str]:
    """Return `count` pair ids, the most informative first.

    Each is chosen as if those before it had votes. A pair occurs once per free slot at most. `comparisons[N,N]` counts
    the comparisons of entrants, including votes that are still expected; votes on one pair count by `vote_information`.
    Among the pairs of the same two entrants, those with fewer assignments come first, then those earlier in `free`.
    """
    queues = _PairQueues(free, comparisons.shape)
    variance, information = covariance(comparisons, strengths), strengths.probabilities().information
    chosen: list[str] = []
    while len(chosen) < count and queues.weight.any():
        gained = information * queues.weight
        gains = np.where(queues.weight > 0, _gain(variance, gained), -1.0)
        i, j = (int(index) for index in np.unravel_index(gains.argmax(), gains.shape))
        variance = _after_vote(variance, gained, i, j)
        chosen.append(queues.pop(i, j))
    return chosen


class _PairQueues:
    """A priority queue of candidates for each two entrants.

    `weight[N,N]` is the effective number of votes that one vote on the next pair adds, 0 for an empty queue.
    """

    def __init__(self, free: Sequence[Candidate], shape: tuple[int, ...]) -> None:
        self.weight = np.zeros(shape)
        self._queues: dict[tuple[int, int], list[tuple[int, int, Candidate]]] = defaultdict(list)
        for order, pair in enumerate(free):
            low, high = sorted((pair.entrant_a, pair.entrant_b))
            if low != high:
                heapq.heappush(self._queues[low, high], (pair.assigned, order, pair))
        for i, j in self._queues:
            self._update_weight(i, j)

    def pop(self, i: int, j: int) -> str:
        """Assign one slot of the next pair of entrants i and j; return the pair's id."""
        assigned, order, pair = heapq.heappop(self._queues[i, j])
        if assigned + 1 < pair.slots:
            heapq.heappush(self._queues[i, j], (assigned + 1, order, pair))
        self._update_weight(i, j)
        return pair.pair_id

    def _update_weight(self, i: int, j: int) -> None:
        assigned = self._queues[i, j][0][0] if self._queues[i, j] else None
        self.weight[i, j] = 0.0 if assigned is None else vote_information(assigned + 1) - vote_information(assigned)


def disagreement_first(free: Sequence[Candidate], scores: Scores, strengths: Strengths, count: int) -> list[str]:
    """Return `count` pair ids, those with the largest disagreement of rewards and ranking first.

    The disagreement is the distance between the share of rewards that prefer a clip and its expected score. Pairs
    without scores come last, in the order of `free`.
    """
    expected = strengths.probabilities().score
    disagreement = {
        pair.pair_id: _disagreement(pair, scores, float(expected[pair.entrant_a, pair.entrant_b])) for pair in free
    }
    return sorted(disagreement, key=lambda pair_id: -disagreement[pair_id])[:count]


def reward_differences(scores: Scores, clip_a: str, clip_b: str) -> dict[str, float]:
    """Return the value of clip a minus that of clip b, -1..1, for each reward with both values."""
    left, right = scores.get(clip_a, {}), scores.get(clip_b, {})
    return {key: a - b for key, a in left.items() if a is not None and (b := right.get(key)) is not None}


def _disagreement(pair: Candidate, scores: Scores, expected: float) -> float:
    differences = reward_differences(scores, pair.clip_a, pair.clip_b).values()
    return abs(_share_preferring_a(differences) - expected) if differences else -1.0


def _share_preferring_a(differences: Iterable[float]) -> float:
    return float(np.mean([0.5 + 0.5 * np.sign(difference) for difference in differences]))


def _gain(covariance: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Return the reduction of the strengths' variances by a vote on i and j, `[N,N]` (Sherman-Morrison).

    `information` is that of the vote. Wide intervals have much larger weights, see `VARIANCE_POWER`.
    """
    variance = np.diag(covariance)
    weights = (variance / variance.max()) ** VARIANCE_POWER
    reduction = _of_differences(covariance @ (weights[:, None] * covariance))
    return information * reduction / (1 + information * _of_differences(covariance))


def _of_differences(matrix: np.ndarray) -> np.ndarray:
    """Return `d' M d` for every `d = e_i - e_j`."""
    diagonal = np.diag(matrix)
    return diagonal[:, None] + diagonal[None, :] - 2 * matrix


def _after_vote(covariance: np.ndarray, information: np.ndarray, i: int, j: int) -> np.ndarray:
    direction = covariance[:, i] - covariance[:, j]
    weight = information[i, j] / (1 + information[i, j] * (direction[i] - direction[j]))
    return covariance - weight * np.outer(direction, direction)
