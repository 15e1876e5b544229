"""Who makes the better clips: a Bradley-Terry ranking with bootstrap intervals, and who beat whom how often.

A skip says nothing and a repeat is no second opinion: neither counts. "Both bad" counts as a tie. Intervals come from
resampling pairs, see `engine.labelling.stats.ranking_bootstrap`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from engine.labelling.stats.bradley_terry import Strengths, WinCounts, fit
from engine.labelling.stats.ranking_bootstrap import Ends, intervals, pair_counts, places, resample
from engine.labelling.votes import SCORES, StoredVote

RESAMPLES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteTable:
    """Votes as arrays `[V]`: entrants `one` and `other` (places in `names`), `score` of the first (1, 1/2, 0), and the
    pair that each was on, counted from 0."""

    names: tuple[str, ...]
    one: np.ndarray
    other: np.ndarray
    score: np.ndarray
    pair: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEntry:
    """An entrant's place. `strength` is a log-odds against the average entrant, `low` and `high` its interval;
    `rank_low` and `rank_high` are the best and the worst place by the intervals of the differences from all others;
    `win_rate` is 0..1, with ties as 1/2."""

    entrant: str
    rank: int
    rank_low: int
    rank_high: int
    strength: float
    low: float
    high: float
    votes: int
    win_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The entrants, the best first. In the matrices, ordered alike, row beat column `wins` times, tied `ties` times."""

    standings: tuple[RankEntry, ...]
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    votes: int
    confidence: float

    @property
    def entrants(self) -> tuple[str, ...]:
        return tuple(standing.entrant for standing in self.standings)


def contests(votes: Iterable[StoredVote], axis: str | None = None) -> VoteTable:
    """The votes that say something about two different entrants: overall, or on an axis of the rubric."""
    told = [
        (one.left_entrant, one.right_entrant, SCORES[choice], one.vote.pair_id)
        for one in votes
        if (choice := one.said(axis)) in SCORES and not one.is_repeat and one.left_entrant != one.right_entrant
    ]
    names = sorted({name for one, other, _, _ in told for name in (one, other)})
    place = {name: number for number, name in enumerate(names)}
    pairs: dict[str, int] = {}
    return VoteTable(
        names=tuple(names),
        one=np.array([place[one] for one, _, _, _ in told], int),
        other=np.array([place[other] for _, other, _, _ in told], int),
        score=np.array([score for _, _, score, _ in told], float),
        pair=np.array([pairs.setdefault(pair, len(pairs)) for _, _, _, pair in told], int),
    )


def rank(told: VoteTable, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Ranking:
    """Rank the entrants; empty where nobody has met."""
    if not len(told):
        return Ranking(standings=(), wins=(), ties=(), votes=0, confidence=confidence)
    meetings, pairs = meet(told), pair_counts(told)
    # Many small matrices: on a busy machine BLAS's threads wait for each other, which takes ten times as long.
    with threadpool_limits(limits=1, user_api="blas"):
        best = fit(meetings)
        drawn = resample(pairs, best, seed=seed, resamples=resamples)
        ends = intervals(pairs, best, drawn, confidence)
    order = np.argsort(-best.theta, kind="stable")
    return Ranking(
        standings=_standings(told, meetings, best, ends, order),
        wins=_rows(meetings.wins[np.ix_(order, order)]),
        ties=_rows(meetings.ties[np.ix_(order, order)]),
        votes=len(told),
        confidence=confidence,
    )


def meet(told: VoteTable) -> WinCounts:
    """Count who beat whom."""
    return pair_counts(told).meetings(np.ones(int(told.pair.max()) + 1))


def _standings(
    told: VoteTable,
    meetings: WinCounts,
    best: Strengths,
    ends: Ends,
    order: np.ndarray,
) -> tuple[RankEntry, ...]:
    first, last = places(ends)
    votes = meetings.total.sum(1)
    win_rate = (meetings.wins + meetings.ties / 2).sum(1) / votes
    return tuple(
        RankEntry(
            entrant=told.names[one],
            rank=place,
            rank_low=int(first[one]),
            rank_high=int(last[one]),
            strength=float(best.theta[one]),
            low=float(ends.low[one]),
            high=float(ends.high[one]),
            votes=int(votes[one]),
            win_rate=float(win_rate[one]),
        )
        for place, one in enumerate(order.tolist(), start=1)
    )


def _rows(matrix: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in matrix)
