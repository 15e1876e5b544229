"""Bradley-Terry ranking of entrants with bootstrap intervals, and their wins and ties.

Skips and repeats do not count. "Both bad" counts as a tie. Intervals come from resampling pairs, see
`engine.labelling.stats.ranking_bootstrap`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from engine.labelling.stats.bradley_terry import Strengths, WinCounts, fit
from engine.labelling.stats.ranking_bootstrap import Ends, intervals, pair_counts, rank_ranges, resample
from engine.labelling.votes import SCORES, StoredVote

RESAMPLES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteTable:
    """Votes as arrays `[V]`.

    `first` and `second` are the entrants, as indices into `names`. `score` is the score of the first: 1, 1/2 or 0.
    `pair` is the index of the vote's pair, from 0.
    """

    names: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    pair: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEntry:
    """An entrant's rank.

    `strength` is the log-odds against the average entrant, `low` and `high` its interval. `rank_low` and `rank_high`
    are the best and the worst rank by the intervals of the differences from all others. `win_rate` is 0..1, with ties
    as 1/2.
    """

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
    """The entrants, best first, and their matrices in the same order.

    `wins[i][j]` is how often i beat j, `ties[i][j]` how often they tied.
    """

    standings: tuple[RankEntry, ...]
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    votes: int
    confidence: float

    @property
    def entrants(self) -> tuple[str, ...]:
        return tuple(entry.entrant for entry in self.standings)


def vote_table(votes: Iterable[StoredVote], axis: str | None = None) -> VoteTable:
    """Return the counted votes between different entrants, overall or on an axis of the rubric."""
    rows = [
        (vote.left_entrant, vote.right_entrant, SCORES[choice], vote.vote.pair_id)
        for vote in votes
        if (choice := vote.choice_on(axis)) in SCORES and not vote.is_repeat and vote.left_entrant != vote.right_entrant
    ]
    names = sorted({name for left, right, _, _ in rows for name in (left, right)})
    index = {name: number for number, name in enumerate(names)}
    pairs: dict[str, int] = {}
    return VoteTable(
        names=tuple(names),
        first=np.array([index[left] for left, _, _, _ in rows], int),
        second=np.array([index[right] for _, right, _, _ in rows], int),
        score=np.array([score for _, _, score, _ in rows], float),
        pair=np.array([pairs.setdefault(pair, len(pairs)) for _, _, _, pair in rows], int),
    )


def rank(table: VoteTable, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Ranking:
    """Rank the entrants; empty for an empty table."""
    if not len(table):
        return Ranking(standings=(), wins=(), ties=(), votes=0, confidence=confidence)
    pairs = pair_counts(table)
    counts = pairs.win_counts()
    # With many small matrices on a busy machine, BLAS's threads wait for each other, which takes ten times as long.
    with threadpool_limits(limits=1, user_api="blas"):
        best = fit(counts)
        drawn = resample(pairs, best, seed=seed, resamples=resamples)
        ends = intervals(pairs, best, drawn, confidence)
    order = np.argsort(-best.theta, kind="stable")
    return Ranking(
        standings=_standings(table, counts, best, ends, order),
        wins=_rows(counts.wins[np.ix_(order, order)]),
        ties=_rows(counts.ties[np.ix_(order, order)]),
        votes=len(table),
        confidence=confidence,
    )


def _standings(
    table: VoteTable,
    counts: WinCounts,
    best: Strengths,
    ends: Ends,
    order: np.ndarray,
) -> tuple[RankEntry, ...]:
    lowest, highest = rank_ranges(ends)
    votes = counts.total.sum(1)
    win_rate = (counts.wins + counts.ties / 2).sum(1) / votes
    return tuple(
        RankEntry(
            entrant=table.names[index],
            rank=number,
            rank_low=int(lowest[index]),
            rank_high=int(highest[index]),
            strength=float(best.theta[index]),
            low=float(ends.low[index]),
            high=float(ends.high[index]),
            votes=int(votes[index]),
            win_rate=float(win_rate[index]),
        )
        for number, index in enumerate(order.tolist(), start=1)
    )


def _rows(matrix: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in matrix)
