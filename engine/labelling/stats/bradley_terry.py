"""Bradley-Terry model with ties (Davidson 1970; Newman, JMLR 24, 2023): strengths from wins and ties.

With strengths theta and the tie parameter tau, the outcomes of a game of i and j have the weights

    i wins  exp(theta_i)        tie  exp((theta_i + theta_j) / 2 + tau)        j wins  exp(theta_j)

This is a multinomial logit, so its log-likelihood is concave. The fit is evalica's (Newman's iteration), refined by
Newton's method, because evalica stops when the strengths converge, even if the tie parameter has not. Bootstrap
resamples start from that fit and take a few Newton steps, all resamples at once: the arrays of `WinCounts`, `Prior` and
`Strengths` may have leading dimensions, with one problem per element. A virtual opponent with half a win and half a
loss against every entrant (`Prior`) keeps the strength of an undefeated entrant finite.
"""

import math
from dataclasses import dataclass

import numpy as np

PRIOR_WINS, PRIOR_TIES = 0.5, 0.1  # games of each entrant with the virtual opponent: wins of each side, and ties
STEPS, TOLERANCE = 50, 1e-6
FIT_LIMIT = 1000  # of Newman's iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class WinCounts:
    """Wins `wins[i, j]` of i over j, and ties `ties[i, j] = ties[j, i]`; `float64[...,N,N]` each."""

    wins: np.ndarray
    ties: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Number of games, `[...,N,N]`, symmetric."""
        return self.wins + self.wins.swapaxes(-1, -2) + self.ties


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Wins, losses and ties of each entrant against the virtual opponent, `[...,N]` each."""

    won: np.ndarray
    lost: np.ndarray
    tied: np.ndarray

    @classmethod
    def of(cls, size: int) -> "Prior":
        half = np.full(size, PRIOR_WINS)
        return cls(won=half, lost=half, tied=np.full(size, PRIOR_TIES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """Fitted parameters.

    `theta[...,N]` are log strengths with mean 0, `opponent[...]` is the virtual opponent's, `tau[...]` the tie
    parameter.
    """

    theta: np.ndarray
    opponent: float | np.ndarray
    tau: float | np.ndarray

    @property
    def with_opponent(self) -> np.ndarray:
        """Strengths `[...,N+1]` with the virtual opponent last."""
        return _append(self.theta, self.opponent)

    def probabilities(self) -> "OutcomeProbabilities":
        """Return the outcome probabilities of each game between entrants."""
        return _probabilities(self.theta, self.tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeProbabilities:
    """Probabilities of the outcomes of a game of i and j, `[...,N,N]`.

    `win[i, j]` is the probability that i wins, `tie[i, j]` that of a tie, and `score[i, j]` the expected score of i,
    with a tie as 1/2. `information[i, j]` is the score's variance, which is the information that one game gives about
    theta_i - theta_j.
    """

    win: np.ndarray
    tie: np.ndarray
    score: np.ndarray
    information: np.ndarray


def fit(counts: WinCounts) -> Strengths:
    """Return the maximum a posteriori strengths."""
    return refit(counts, newman(counts))


def newman(counts: WinCounts) -> Strengths:
    """Return approximate strengths by evalica's iteration alone."""
    import evalica

    padded = _with_opponent(counts)
    won, lost = np.nonzero(padded.wins)
    tied_a, tied_b = np.nonzero(np.triu(padded.ties))
    outcomes = [evalica.Winner.X] * len(won) + [evalica.Winner.Draw] * len(tied_a)
    weights = np.concatenate([padded.wins[won, lost], padded.ties[tied_a, tied_b]])
    result = evalica.newman(
        np.concatenate([won, tied_a]).tolist(),
        np.concatenate([lost, tied_b]).tolist(),
        outcomes,
        weights=weights.tolist(),
        limit=FIT_LIMIT,
    )
    theta = np.log(result.scores.sort_index().to_numpy())
    return _centred(theta, math.log(2 * result.v))


def refit(counts: WinCounts, start: Strengths, prior: Prior | None = None) -> Strengths:
    """Return the maximum a posteriori strengths by Newton's method from a nearby `start`."""
    padded = _with_opponent(counts, prior)
    total = padded.total
    theta, tau = start.with_opponent, np.asarray(start.tau)
    for _ in range(STEPS):
        step = _newton_step(padded, total, theta, tau)
        step *= np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(-1, keepdims=True), TOLERANCE))
        theta, tau = theta + step[..., :-1], tau + step[..., -1]
        if np.abs(step).max() < TOLERANCE:
            break
    return _centred(theta, tau)


def covariance(total: np.ndarray, strengths: Strengths) -> np.ndarray:
    """Return the strengths' covariance `[...,N,N]` by expected information; `total[...,N,N]` are games."""
    return _centred_covariance(np.linalg.inv(_fixed(_information(total, strengths, None))))


def variances(total: np.ndarray, strengths: Strengths, changes: np.ndarray) -> np.ndarray:
    """Return the variance `[N]` that each strength has when it alone is changed by `changes[N]`.

    For a change of 0 it is the diagonal element of `covariance`. `total[N,N]` are games.
    """
    size, theta = total.shape[-1], strengths.with_opponent
    games, information = _games(total, None), _information(total, strengths, None)
    moved = theta[:size, None] + changes[:, None] - theta
    rows = games[:size] * _outcomes(np.exp(moved / 2), strengths.tau).information
    contrasts = np.full((size, size + 1), -1.0 / size)
    contrasts[:, :size] += np.eye(size)
    contrasts[:, size] = 0
    found = np.empty(size)
    for index, (row, contrast) in enumerate(zip(rows, contrasts, strict=True)):
        change = row + information[index]  # of the information of this entrant's games, which are negative there
        change[index] = 0
        changed = _fixed(information)
        changed[index] -= change
        changed[:, index] -= change
        changed[np.arange(size + 1), np.arange(size + 1)] += change
        changed[index, index] += change.sum()
        found[index] = contrast @ np.linalg.solve(changed, contrast)
    return found


def robust_covariance(
    total: np.ndarray, squares: np.ndarray, strengths: Strengths, prior: Prior | None = None
) -> np.ndarray:
    """Return the strengths' covariance `[...,N,N]` by the votes' residuals (Huber's sandwich).

    `squares[...,N,N]`, symmetric, is the sum over the pairs of two entrants of `sum(score - expected score)` over the
    pair's votes, squared. It is therefore valid for correlated votes on one pair. The tie parameter is assumed known.
    """
    expected = _probabilities(strengths.with_opponent, strengths.tau)
    inverse = np.linalg.inv(_fixed(_laplacian(_games(total, prior) * expected.information)))
    return _centred_covariance(inverse @ _laplacian(_with_column(squares, _prior_squares(prior, expected))) @ inverse)


def _information(total: np.ndarray, strengths: Strengths, prior: Prior | None) -> np.ndarray:
    """Return the Laplacian `[...,N+1,N+1]` of the information of all games, including those of the prior."""
    expected = _probabilities(strengths.with_opponent, strengths.tau)
    return _laplacian(_games(total, prior) * expected.information)


def _games(total: np.ndarray, prior: Prior | None) -> np.ndarray:
    """Return the number of games `[...,N+1,N+1]`, including those of the prior."""
    prior = Prior.of(total.shape[-1]) if prior is None else prior
    return _with_column(total, prior.won + prior.lost + prior.tied)


def _prior_squares(prior: Prior | None, probabilities: "OutcomeProbabilities") -> np.ndarray:
    """Return the squared residuals `[...,N]` of the prior's games, each a pair with a fraction of a vote."""
    expected = probabilities.score[..., :-1, -1]
    prior = Prior.of(expected.shape[-1]) if prior is None else prior
    parts = (prior.won, 1.0, PRIOR_WINS), (prior.lost, 0.0, PRIOR_WINS), (prior.tied, 0.5, PRIOR_TIES)
    return sum((times * weight * (score - expected) ** 2 for times, score, weight in parts), np.zeros_like(expected))


def _fixed(laplacian: np.ndarray) -> np.ndarray:
    """Make a Laplacian invertible. It determines only differences, so the sum of all strengths is fixed."""
    return np.asarray(laplacian + 1.0 / laplacian.shape[-1])


def _centred_covariance(covariance: np.ndarray) -> np.ndarray:
    """Return the covariance `[...,N,N]` of the entrants' strengths relative to their mean."""
    entrants = covariance[..., :-1, :-1]
    means = entrants.mean(-1, keepdims=True) + entrants.mean(-2, keepdims=True)
    return np.asarray(entrants - means + entrants.mean((-1, -2), keepdims=True))


def _probabilities(theta: np.ndarray, tau: float | np.ndarray) -> OutcomeProbabilities:
    root = np.exp(theta / 2)
    return _outcomes(root[..., :, None] / root[..., None, :], tau)


def _outcomes(half: np.ndarray, tau: float | np.ndarray) -> OutcomeProbabilities:
    """Return the probabilities of games with `half[...,N,M]`, `exp(gap / 2)` of the strength's gap."""
    even = np.exp(np.asarray(tau))[..., None, None]
    scale = 1 / (half + 1 / half + even)
    win, tie = half * scale, even * scale
    score = win + tie / 2
    return OutcomeProbabilities(win=win, tie=tie, score=score, information=win + tie / 4 - score**2)


def _with_opponent(counts: WinCounts, prior: Prior | None = None) -> WinCounts:
    size = counts.wins.shape[-1]
    prior = Prior.of(size) if prior is None else prior
    wins = _with_column(counts.wins, prior.won)
    wins[..., size, :size] = prior.lost
    return WinCounts(wins=wins, ties=_with_column(counts.ties, prior.tied))


def _with_column(matrix: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Append a column, and the same values as a row, for the virtual opponent: `[...,N+1,N+1]`."""
    size = matrix.shape[-1]
    padded = np.zeros((*matrix.shape[:-2], size + 1, size + 1))
    padded[..., :size, :size] = matrix
    padded[..., :size, size] = padded[..., size, :size] = column
    return padded


def _newton_step(counts: WinCounts, total: np.ndarray, theta: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return the change of `theta` and, last, of `tau`, `[...,N+2]`."""
    size = theta.shape[-1]
    expected = _probabilities(theta, tau)
    by_strength = (counts.wins + counts.ties / 2 - total * expected.score).sum(-1)
    gradient = _append(by_strength, (counts.ties - total * expected.tie).sum((-1, -2)) / 2)
    hessian = np.empty((*gradient.shape, size + 1))
    hessian[..., :size, :size] = _laplacian(total * expected.information) + 1.0 / size
    mixed = (total * expected.tie * (0.5 - expected.score)).sum(-1)
    hessian[..., :size, size] = hessian[..., size, :size] = mixed
    hessian[..., size, size] = (total * expected.tie * (1 - expected.tie)).sum((-1, -2)) / 2
    return np.asarray(np.linalg.solve(hessian, gradient[..., None])[..., 0])


def _laplacian(weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights.sum(-1)[..., None] * np.eye(weights.shape[-1]) - weights)


def _append(values: np.ndarray, last: float | np.ndarray) -> np.ndarray:
    """Append values `[...]` to `[...,N]`: `[...,N+1]`."""
    return np.concatenate([values, np.broadcast_to(last, values.shape[:-1])[..., None]], axis=-1)


def _centred(theta: np.ndarray, tau: float | np.ndarray) -> Strengths:
    mean = theta[..., :-1].mean(-1, keepdims=True)
    return Strengths(theta=theta[..., :-1] - mean, opponent=theta[..., -1] - mean[..., 0], tau=tau)
