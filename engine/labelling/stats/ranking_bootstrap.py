"""Intervals of a ranking's strengths: the studentised bootstrap over pairs.

A resample draws as many pairs as there are, with replacement, each with all of its votes: votes of several labellers
on one pair are not independent. The prior's pseudo-games are re-weighted at random too, so that an undefeated entrant
still gets a finite interval. The pivot is the difference between the resample's strength and the estimate, in standard
errors of the resample. Unlike plain quantiles of the strengths, its intervals have the stated coverage also for few
votes (Efron and Tibshirani 1993, section 12.5; Hall 1988).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from engine.labelling.stats.bradley_terry import (
    Prior,
    Strengths,
    WinCounts,
    covariance,
    refit,
    robust_covariance,
    variances,
)

if TYPE_CHECKING:
    from scipy import sparse

    from engine.labelling.stats.ranking import VoteTable


FREEDOM = 2
"""Degrees of freedom of Student's distribution, in addition to the number of pairs."""
BATCH_VALUES = 100_000
"""Size of a table of entrants when several resamples are fitted at once; such tables fit in a processor's cache."""
DRAWN_VALUES = 10_000_000
"""Size of the array of draws of these resamples."""
PRIOR_FIELDS = "won", "lost", "tied"


class PairCounts:
    """The votes of each pair, `[P]`, and their sums by entrants.

    `first` < `second` are the pair's entrants, as indices below `size`. `wins` and `losses` are those of the first.
    """

    def __init__(
        self,
        *,
        size: int,
        first: np.ndarray,
        second: np.ndarray,
        wins: np.ndarray,
        losses: np.ndarray,
        ties: np.ndarray,
    ) -> None:
        self.size, self.first, self.second = size, first, second
        self.wins, self.losses, self.ties = wins, losses, ties

    def win_counts(self, times: np.ndarray | None = None) -> WinCounts:
        """Return wins and ties `[...,N,N]`, with each pair counted `times[...,P]`; None: once."""
        won, lost, ties = self._tables(self._counting, times)
        return WinCounts(wins=won + lost.swapaxes(-1, -2), ties=ties + ties.swapaxes(-1, -2))

    def squares(self, strengths: Strengths, times: np.ndarray | None = None) -> np.ndarray:
        """Return squared residuals `[...,N,N]` for `robust_covariance`; pairs count `times[...,P]`, or once."""
        expected = strengths.probabilities().score
        scores, both, all_votes = self._tables(self._squaring, times)
        residuals = scores + expected * (expected * all_votes - 2 * both)
        return np.asarray(residuals + residuals.swapaxes(-1, -2))

    def grouped(self) -> tuple["PairCounts", np.ndarray]:
        """Return the different rows among the pairs, and the row of each pair, `int[P]`."""
        columns = (self.first, self.second, self.wins, self.losses, self.ties)
        shape = [int(column.max()) + 1 for column in columns]
        if math.prod(shape) > np.iinfo(np.int64).max:  # votes without number on a pair: few pairs
            return self, np.arange(len(self.first))
        keys = np.ravel_multi_index([column.astype(int) for column in columns], shape)
        rows, group = np.unique(keys, return_inverse=True)
        first, second, *counts = np.unravel_index(rows, shape)
        wins, losses, ties = (count.astype(float) for count in counts)
        return PairCounts(size=self.size, first=first, second=second, wins=wins, losses=losses, ties=ties), group

    @cached_property
    def _counting(self) -> "sparse.csc_array":
        return self._summing(self.wins, self.losses, self.ties)

    @cached_property
    def _squaring(self) -> "sparse.csc_array":
        votes, score = self.wins + self.losses + self.ties, self.wins + self.ties / 2  # score of the first entrant
        return self._summing(score**2, score * votes, votes**2)

    def _summing(self, *parts: np.ndarray) -> "sparse.csc_array":
        """Return the matrix `[K*N*N,P]` that sums K parts `[P]` by entrants."""
        from scipy import sparse

        cells, count = self.first * self.size + self.second, len(parts)
        rows = cells[:, None] + np.arange(count) * self.size**2
        starts = np.arange(len(cells) + 1) * count
        entries = np.stack(parts, axis=1).ravel(), rows.ravel(), starts
        return sparse.csc_array(entries, shape=(count * self.size**2, len(cells)))

    def _tables(self, summing: "sparse.csc_array", times: np.ndarray | None) -> np.ndarray:
        """Sum the parts by entrants, `[K,...,N,N]`, with each pair counted `times[...,P]`, or once."""
        times = np.ones(len(self.first)) if times is None else times
        sums = (summing @ times.reshape(-1, times.shape[-1]).T).T
        tables = sums.reshape(len(sums), -1, self.size, self.size).swapaxes(0, 1)
        return np.ascontiguousarray(tables).reshape(-1, *times.shape[:-1], self.size, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """Differences of resampled strengths from the estimate, in standard errors.

    `pivots[R,N]` are those of each entrant against the mean, `gaps[R,N,N]` those of row against column.
    """

    pivots: np.ndarray
    gaps: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Ends of the intervals.

    `low[N]` and `high[N]` are those of the strengths, `gap_low[N,N]` and `gap_high[N,N]` those of the row's strength
    minus the column's.
    """

    low: np.ndarray
    high: np.ndarray
    gap_low: np.ndarray
    gap_high: np.ndarray


def pair_counts(table: "VoteTable") -> PairCounts:
    """Count the votes of each pair. All votes of a pair are on the same two entrants, in either order."""
    size = int(table.pair.max()) + 1
    swapped = table.first > table.second
    score = np.where(swapped, 1 - table.score, table.score)
    low, high = np.minimum(table.first, table.second), np.maximum(table.first, table.second)
    entrants = np.zeros((2, size), int)
    entrants[:, table.pair] = low, high
    counts = (np.bincount(table.pair, score == outcome, size).astype(float) for outcome in (1.0, 0.0, 0.5))
    wins, losses, ties = counts
    return PairCounts(size=len(table.names), first=entrants[0], second=entrants[1], wins=wins, losses=losses, ties=ties)


def resample(pairs: PairCounts, fitted: Strengths, *, seed: int, resamples: int) -> Resamples:
    """Draw `resamples` bootstrap samples of pairs and fit each of them."""
    grouped, group = pairs.grouped()  # sums over pairs need each different row once, times the number of its pairs
    rng = np.random.default_rng(seed)
    parts = [_fit_batch(grouped, fitted, *part) for part in _batches(rng, group, grouped, resamples)]
    pivots, gaps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Resamples(pivots=pivots, gaps=gaps)


def _batches(
    rng: np.random.Generator, group: np.ndarray, grouped: PairCounts, resamples: int
) -> Iterator[tuple[np.ndarray, Prior]]:
    """Yield resamples `times[R,P]` and their priors in small batches."""
    count, rows, size = len(group), len(grouped.first), grouped.size
    step = max(1, min(BATCH_VALUES // size**2, DRAWN_VALUES // rows))
    for start in range(0, resamples, step):
        times = np.empty((min(step, resamples - start), rows))
        priors = []
        for row in times:
            drawn = rng.integers(count, size=count)
            row[:] = np.bincount(group.take(drawn, out=drawn, mode="clip"), minlength=rows)  # in place: half the time
            priors.append(_drawn_prior(rng, size))
        yield times, Prior(**{name: np.stack([getattr(one, name) for one in priors]) for name in PRIOR_FIELDS})


def _fit_batch(pairs: PairCounts, fitted: Strengths, times: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Fit a batch of resamples; return their pivots `[R,N]` and gaps `[R,N,N]`."""
    counts = pairs.win_counts(times)
    resampled = refit(counts, fitted, prior)
    covariance = robust_covariance(counts.total, pairs.squares(resampled, times), resampled, prior)
    change = resampled.theta - fitted.theta
    pivots = change / np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return pivots, _differences(change) / _gap_errors(covariance)


def intervals(pairs: PairCounts, fitted: Strengths, drawn: Resamples, confidence: float) -> Ends:
    """Return intervals of the strengths and of all their differences.

    The length of an interval, in standard errors, is the larger of two: the quantile of the resamples, and the quantile
    of Student's distribution with the entrant's number of pairs plus two degrees of freedom (for a difference: of the
    entrant with fewer pairs). The latter is needed for few pairs, since all resamples of a single pair are alike. The
    two extra degrees come from simulation: with them, intervals cover from 1 pair upwards
    (`tests/calibration/ranking_coverage.py`). The standard error is the one at the end of the interval, as in a score
    interval (Wilson 1927): an entrant who won all of ten votes may be much better than the votes can show.
    """
    robust, expected = pair_covariance(pairs, fitted), covariance(pairs.win_counts().total, fitted)
    errors = np.sqrt(np.maximum(np.diag(robust), np.diag(expected)))
    num_pairs = np.bincount(pairs.first, minlength=pairs.size) + np.bincount(pairs.second, minlength=pairs.size)
    low, high = _quantiles(drawn.pivots, num_pairs, confidence)
    low, high = (_ends(pairs, fitted, side * reach * errors, errors) for side, reach in ((-1, low), (1, high)))
    gap, gap_errors = _differences(fitted.theta), np.maximum(_gap_errors(robust), _gap_errors(expected))
    gap_low, gap_high = _quantiles(drawn.gaps, np.minimum(num_pairs[:, None], num_pairs[None, :]), confidence)
    return Ends(
        low=low,
        high=high,
        gap_low=gap - gap_low * gap_errors,
        gap_high=gap + gap_high * gap_errors,
    )


def rank_ranges(ends: Ends) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the worst rank `[N]` of each entrant by the intervals of the differences.

    An entrant ranks after all that are better for certain, and before all that are worse for certain.
    """
    return 1 + (ends.gap_high < 0).sum(1), len(ends.low) - (ends.gap_low > 0).sum(1)


def _quantiles(drawn: np.ndarray, num_pairs: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how many standard errors the interval extends below and above the estimate.

    Weibull quantiles of `drawn` are valid for any number of resamples.
    """
    from scipy.stats import t

    tails = np.array([(1 + confidence) / 2, (1 - confidence) / 2])
    high, low = np.quantile(drawn, tails, axis=0, method="weibull")
    student = t.ppf(tails[0], num_pairs + FREEDOM)
    return np.maximum(high, student), np.maximum(-low, student)


def _ends(pairs: PairCounts, fitted: Strengths, reach: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the ends `[N]` of the intervals.

    An end is `reach[N]` away by the standard errors `errors[N]`, or farther if the strength's standard error at that
    end is larger.
    """
    total = pairs.win_counts().total
    widening = np.maximum(1.0, np.sqrt(variances(total, fitted, reach)) / errors)
    return np.asarray(fitted.theta + reach * widening)


def pair_covariance(pairs: PairCounts, fitted: Strengths) -> np.ndarray:
    """Return the strengths' covariance `[N,N]` by the votes' residuals."""
    return robust_covariance(pairs.win_counts().total, pairs.squares(fitted), fitted)


def _differences(values: np.ndarray) -> np.ndarray:
    """Return row minus column: `[...,N]` to `[...,N,N]`."""
    return np.asarray(values[..., :, None] - values[..., None, :])


def _gap_errors(covariance: np.ndarray) -> np.ndarray:
    """Return standard errors `[...,N,N]` of the differences; 1 on the diagonal, where the difference is 0."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    gaps = variance[..., :, None] + variance[..., None, :] - 2 * covariance
    return np.sqrt(np.where(np.eye(gaps.shape[-1], dtype=bool), 1.0, np.maximum(gaps, 1e-12)))


def _drawn_prior(rng: np.random.Generator, size: int) -> Prior:
    """Return the prior's games, weighted by draws of mean 1 and variance 1 like a resample's pairs."""
    even = Prior.of(size)
    return Prior(**{name: getattr(even, name) * rng.exponential(size=size) for name in PRIOR_FIELDS})
