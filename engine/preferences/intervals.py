"""Intervals of a ranking's strengths: the studentised bootstrap over pairs.

A resample draws as many pairs as there are, with replacement, with all votes on them (votes of several people on one
pair are not independent), and weighs the meetings with the virtual opponent at random too, so that one who has always
won is not taken for certain. What is looked at is how far the resample's strength is from the found one, in standard
deviations that the resample has itself: unlike the plain quantiles of the strengths, this has the stated coverage also
where the votes are few (Efron and Tibshirani 1993, section 12.5; Hall 1988).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.preferences.bradley_terry import Meetings, Prior, Strengths, covariance, refit, robust_covariance

if TYPE_CHECKING:
    from engine.preferences.ranking import Contests


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

    def meetings(self, times: np.ndarray) -> Meetings:
        """Who beat whom, each pair counted `times[P]`."""
        won, lost, ties = (self._table(times * part) for part in (self.wins, self.losses, self.ties))
        return Meetings(wins=won + lost.T, ties=ties + ties.T)

    def squares(self, times: np.ndarray, strengths: Strengths) -> np.ndarray:
        """What `robust_covariance` needs, `[N,N]`: the squares of the pairs' surprises, each counted `times[P]`."""
        votes, score, expected = self.votes, self.score, strengths.chances().score
        scores, both, all_votes = (self._table(times * part) for part in (score**2, score * votes, votes**2))
        surprise = scores - 2 * expected * both + expected**2 * all_votes
        return np.asarray(surprise + surprise.T)

    def _table(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.one * self.size + self.other, values, self.size**2).reshape(self.size, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """Strengths `theta[R,N]` of resamples, and `pivots[R,N]`: how far they are from the found ones, in deviations."""

    theta: np.ndarray
    pivots: np.ndarray


def pair_counts(told: "Contests") -> PairCounts:
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


def deviations(pairs: PairCounts, times: np.ndarray, found: Strengths, prior: Prior | None = None) -> np.ndarray:
    """Standard deviations of the strengths, `[N]`, each pair counted `times[P]`."""
    total = pairs.meetings(times).total
    return np.sqrt(np.diag(robust_covariance(total, pairs.squares(times, found), found, prior)))


def resample(pairs: PairCounts, found: Strengths, *, seed: int, resamples: int) -> Resamples:
    """Draw pairs anew, again and again."""
    rng, count = np.random.default_rng(seed), len(pairs.one)
    theta, pivots = np.empty((2, resamples, pairs.size))
    for number in range(resamples):
        times = np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
        prior = _drawn_prior(rng, pairs.size)
        again = refit(pairs.meetings(times), found, prior)
        theta[number] = again.theta
        pivots[number] = (again.theta - found.theta) / deviations(pairs, times, again, prior)
    return Resamples(theta=theta, pivots=pivots)


def intervals(
    pairs: PairCounts, found: Strengths, drawn: Resamples, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ends `[N]` of the strengths' intervals. The quantiles are those that hold for any number of resamples."""
    tails = np.array([(1 + confidence) / 2, (1 - confidence) / 2])
    high, low = np.quantile(drawn.pivots, tails, axis=0, method="weibull")
    once = np.ones(len(pairs.one))
    expected = np.sqrt(np.diag(covariance(pairs.meetings(once).total, found)))
    spread = np.maximum(deviations(pairs, once, found), expected)
    return found.theta - high * spread, found.theta - low * spread


def _drawn_prior(rng: np.random.Generator, size: int) -> Prior:
    """Meetings with the virtual opponent, weighed by draws of mean 1 and variance 1, as a resample's pairs are."""
    even = Prior.of(size)
    return Prior(**{name: getattr(even, name) * rng.exponential(size=size) for name in ("won", "lost", "tied")})
