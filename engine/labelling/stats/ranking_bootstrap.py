"""Intervals of a ranking's strengths: the studentised bootstrap over pairs.

A resample draws as many pairs as there are, with replacement, with all votes on them (votes of several people on one
pair are not independent), and weighs the meetings with the virtual opponent at random too, so that one who has always
won is not taken for certain. What is looked at is how far the resample's strength is from the found one, in standard
deviations that the resample has itself: unlike the plain quantiles of the strengths, this has the stated coverage also
where the votes are few (Efron and Tibshirani 1993, section 12.5; Hall 1988).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from engine.labelling.stats.bradley_terry import Prior, Strengths, WinCounts, covariance, refit, robust_covariance

if TYPE_CHECKING:
    from engine.labelling.stats.ranking import VoteTable


FREEDOM = 2
"""Degrees of freedom of Student's distribution above the number of pairs."""
BATCH_VALUES = 1_000_000
"""Numbers in the largest array of the resamples that are fitted at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """The votes of each pair, `[P]`: its entrants `one` < `other` of `size`, how often each won, and how often none."""

    size: int
    one: np.ndarray
    other: np.ndarray
    wins: np.ndarray
    losses: np.ndarray
    ties: np.ndarray

    @property
    def votes(self) -> np.ndarray:
        return self.wins + self.losses + self.ties

    @property
    def score(self) -> np.ndarray:
        """Of `one`, in votes."""
        return self.wins + self.ties / 2

    def meetings(self, times: np.ndarray) -> WinCounts:
        """Who beat whom, `[...,N,N]`, each pair counted `times[...,P]`."""
        won, lost, ties = (self._table(times * part) for part in (self.wins, self.losses, self.ties))
        return WinCounts(wins=won + lost.swapaxes(-1, -2), ties=ties + ties.swapaxes(-1, -2))

    def squares(self, times: np.ndarray, strengths: Strengths) -> np.ndarray:
        """What `robust_covariance` needs, `[...,N,N]`: the squares of the pairs' surprises, counted `times[...,P]`."""
        votes, score, expected = self.votes, self.score, strengths.chances().score
        scores, both, all_votes = (self._table(times * part) for part in (score**2, score * votes, votes**2))
        surprise = scores - 2 * expected * both + expected**2 * all_votes
        return np.asarray(surprise + surprise.swapaxes(-1, -2))

    def _table(self, values: np.ndarray) -> np.ndarray:
        """`[...,P]` to its sums by entrants, `[...,N,N]`."""
        shape, cells = values.shape[:-1], self.size**2
        tables = np.arange(math.prod(shape))[:, None] * cells
        places = tables + self.one * self.size + self.other
        sums = np.bincount(places.ravel(), values.ravel(), len(tables) * cells)
        return sums.reshape(*shape, self.size, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """How far the strengths of resamples are from the found ones, in deviations: `pivots[R,N]` of each entrant against
    the mean, `gaps[R,N,N]` of row against column."""

    pivots: np.ndarray
    gaps: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The ends of the intervals: `low[N]` and `high[N]` of the strengths, `gap_low[N,N]` and `gap_high[N,N]` of the
    strength of the row less that of the column."""

    low: np.ndarray
    high: np.ndarray
    gap_low: np.ndarray
    gap_high: np.ndarray


def pair_counts(told: "VoteTable") -> PairCounts:
    """A pair's votes are on the same two entrants, in either order."""
    size = int(told.pair.max()) + 1
    turned = told.one > told.other
    score = np.where(turned, 1 - told.score, told.score)
    low, high = np.minimum(told.one, told.other), np.maximum(told.one, told.other)
    first = np.zeros((2, size), int)
    first[:, told.pair] = low, high
    counts = (np.bincount(told.pair, score == said, size).astype(float) for said in (1.0, 0.0, 0.5))
    wins, losses, ties = counts
    return PairCounts(size=len(told.names), one=first[0], other=first[1], wins=wins, losses=losses, ties=ties)


def standard_errors(pairs: PairCounts, times: np.ndarray, found: Strengths, prior: Prior | None = None) -> np.ndarray:
    """Standard deviations of the strengths, `[N]`, each pair counted `times[P]`."""
    return np.sqrt(np.diag(_covariance(pairs, times, found, prior)))


def resample(pairs: PairCounts, found: Strengths, *, seed: int, resamples: int) -> Resamples:
    """Draw pairs anew, again and again."""
    rng, count = np.random.default_rng(seed), len(pairs.one)
    times, priors = [], []
    for _ in range(resamples):
        times.append(np.bincount(rng.integers(count, size=count), minlength=count).astype(float))
        priors.append(_drawn_prior(rng, pairs.size))
    parts = [_together(pairs, found, *part) for part in _batches(np.stack(times), priors, pairs.size)]
    pivots, gaps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Resamples(pivots=pivots, gaps=gaps)


def _batches(times: np.ndarray, priors: Sequence[Prior], size: int) -> Iterator[tuple[np.ndarray, Prior]]:
    """Resamples `times[R,P]` and their priors, as many at once as keep the arrays small."""
    step = max(1, BATCH_VALUES // max(times.shape[1], size**2))
    for start in range(0, len(times), step):
        some = priors[start : start + step]
        prior = Prior(**{name: np.stack([getattr(one, name) for one in some]) for name in ("won", "lost", "tied")})
        yield times[start : start + step], prior


def _together(pairs: PairCounts, found: Strengths, times: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """The pivots `[R,N]` and gaps `[R,N,N]` of resamples that are fitted at once."""
    start = Strengths(theta=np.tile(found.theta, (len(times), 1)), opponent=found.opponent, tau=found.tau)
    again = refit(pairs.meetings(times), start, prior)
    moved, covariance = again.theta - found.theta, _covariance(pairs, times, again, prior)
    pivots = moved / np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return pivots, _differences(moved) / _gap_deviations(covariance)


def intervals(pairs: PairCounts, found: Strengths, drawn: Resamples, confidence: float) -> Ends:
    """The strengths' intervals, and those of the differences of any two.

    An interval is as many deviations long as the resamples say, and as Student's distribution says for as many pairs as
    the entrant was in (of two, for the one with fewer), and two more. Of few pairs, resamples say too little: those of
    one pair are all alike. The two degrees more are from simulation: with them, intervals cover from 1 pair upwards
    (`tests/calibration/ranking_coverage.py`). An end lies as many deviations away as a strength there would have, as in
    a score interval (Wilson 1927): one who won all of ten votes may be far better than the votes can tell.
    """
    once = np.ones(len(pairs.one))
    robust, expected = _covariance(pairs, once, found), covariance(pairs.meetings(once).total, found)
    spread = np.sqrt(np.maximum(np.diag(robust), np.diag(expected)))
    seen = np.bincount(pairs.one, minlength=pairs.size) + np.bincount(pairs.other, minlength=pairs.size)
    low, high = _reach(drawn.pivots, seen, confidence)
    low, high = (_at_ends(pairs, found, side * reach * spread, spread) for side, reach in ((-1, low), (1, high)))
    gap, gap_spread = _differences(found.theta), np.maximum(_gap_deviations(robust), _gap_deviations(expected))
    gap_low, gap_high = _reach(drawn.gaps, np.minimum(seen[:, None], seen[None, :]), confidence)
    return Ends(
        low=low,
        high=high,
        gap_low=gap - gap_low * gap_spread,
        gap_high=gap + gap_high * gap_spread,
    )


def places(ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst place `[N]` of each entrant: after all who are better and before all who are worse, by the
    intervals of the differences."""
    return 1 + (ends.gap_high < 0).sum(1), len(ends.low) - (ends.gap_low > 0).sum(1)


def _reach(drawn: np.ndarray, seen: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """How many deviations the interval goes down and up from what was found. The quantiles of `drawn` are those that
    hold for any number of resamples."""
    tails = np.array([(1 + confidence) / 2, (1 - confidence) / 2])
    high, low = np.quantile(drawn, tails, axis=0, method="weibull")
    least = stats.t.ppf(tails[0], seen + FREEDOM)
    return np.maximum(high, least), np.maximum(-low, least)


def _at_ends(pairs: PairCounts, found: Strengths, reach: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The ends `[N]`, `reach[N]` away by the deviations `spread[N]`, or farther by those that each strength would have
    at that end."""
    total = pairs.meetings(np.ones(len(pairs.one))).total
    ends = np.empty(pairs.size)
    for one in range(pairs.size):
        moved = found.theta.copy()
        moved[one] += reach[one]
        there = covariance(total, Strengths(theta=moved, opponent=found.opponent, tau=found.tau))
        ends[one] = found.theta[one] + reach[one] * max(1.0, float(np.sqrt(there[one, one])) / spread[one])
    return ends


def _covariance(pairs: PairCounts, times: np.ndarray, found: Strengths, prior: Prior | None = None) -> np.ndarray:
    total = pairs.meetings(times).total
    return robust_covariance(total, pairs.squares(times, found), found, prior)


def _differences(values: np.ndarray) -> np.ndarray:
    """`[...,N]` to `[...,N,N]`: row less column."""
    return np.asarray(values[..., :, None] - values[..., None, :])


def _gap_deviations(covariance: np.ndarray) -> np.ndarray:
    """`[...,N,N]`: standard deviations of the differences; 1 on the diagonal, where there is none."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    gaps = variance[..., :, None] + variance[..., None, :] - 2 * covariance
    return np.sqrt(np.where(np.eye(gaps.shape[-1], dtype=bool), 1.0, np.maximum(gaps, 1e-12)))


def _drawn_prior(rng: np.random.Generator, size: int) -> Prior:
    """Meetings with the virtual opponent, weighed by draws of mean 1 and variance 1, as a resample's pairs are."""
    even = Prior.of(size)
    return Prior(**{name: getattr(even, name) * rng.exponential(size=size) for name in ("won", "lost", "tied")})
