"""The Bradley-Terry model with ties (Davidson 1970; Newman, JMLR 24, 2023): strengths from wins and ties.

With strengths theta and the tie parameter tau, a meeting of i and j has the weights

    i wins  exp(theta_i)        tie  exp((theta_i + theta_j) / 2 + tau)        j wins  exp(theta_j)

which is a multinomial logit: its log-likelihood is concave. The fit is evalica's (Newman's iteration), finished by
Newton's method, because evalica stops when the strengths stand still, whether or not the tie parameter does; from there
the resamples of a bootstrap take a few steps of Newton's, all of them at once: the arrays of `WinCounts`, `Prior` and
`Strengths` may have leading dimensions, one problem for each of their elements. A virtual opponent, with half a win and
half a loss against everybody (`Prior`), keeps the strength of one who has always won finite.
"""

import math
from dataclasses import dataclass

import numpy as np

PRIOR_WINS, PRIOR_TIES = 0.5, 0.1  # meetings of everybody with the virtual opponent: wins of each, and ties
STEPS, TOLERANCE = 50, 1e-6
FIT_LIMIT = 1000  # of Newman's iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class WinCounts:
    """`wins[i, j]`: how often i beat j; `ties[i, j] = ties[j, i]`: how often they tied. `float64[...,N,N]`."""

    wins: np.ndarray
    ties: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """How often they met, `[...,N,N]`, symmetric."""
        return self.wins + self.wins.swapaxes(-1, -2) + self.ties


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Everybody's meetings with the virtual opponent, `[...,N]` each: how often they won, lost and tied."""

    won: np.ndarray
    lost: np.ndarray
    tied: np.ndarray

    @classmethod
    def of(cls, size: int) -> "Prior":
        half = np.full(size, PRIOR_WINS)
        return cls(won=half, lost=half, tied=np.full(size, PRIOR_TIES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """`theta[...,N]`: log strengths with mean 0; `opponent[...]`: the virtual one's; `tau[...]`: the tie parameter."""

    theta: np.ndarray
    opponent: float | np.ndarray
    tau: float | np.ndarray

    @property
    def with_opponent(self) -> np.ndarray:
        """`[...,N+1]`, the virtual opponent last."""
        return _append(self.theta, self.opponent)

    def chances(self) -> "Chances":
        return _chances(self.theta, self.tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Of each meeting of i and j: `win[i, j]` that i wins, `tie[i, j]`, the `score[i, j]` that i can expect (a tie is
    1/2), and its variance, which is the `information[i, j]` that one meeting gives of theta_i - theta_j."""

    win: np.ndarray
    tie: np.ndarray
    score: np.ndarray
    information: np.ndarray


def fit(meetings: WinCounts) -> Strengths:
    """The strengths that fit best."""
    return refit(meetings, newman(meetings))


def newman(meetings: WinCounts) -> Strengths:
    """The strengths by evalica's iteration alone: close to the best."""
    import evalica

    padded = _with_opponent(meetings)
    won, lost = np.nonzero(padded.wins)
    one, other = np.nonzero(np.triu(padded.ties))
    outcomes = [evalica.Winner.X] * len(won) + [evalica.Winner.Draw] * len(one)
    weights = np.concatenate([padded.wins[won, lost], padded.ties[one, other]])
    found = evalica.newman(
        np.concatenate([won, one]).tolist(),
        np.concatenate([lost, other]).tolist(),
        outcomes,
        weights=weights.tolist(),
        limit=FIT_LIMIT,
    )
    theta = np.log(found.scores.sort_index().to_numpy())
    return _centred(theta, math.log(2 * found.v))


def refit(meetings: WinCounts, start: Strengths, prior: Prior | None = None) -> Strengths:
    """The strengths that fit best, by Newton's method from strengths that are not far off."""
    padded = _with_opponent(meetings, prior)
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
    """Of the strengths `[...,N,N]`, as the expected information of so many meetings `total[...,N,N]` gives it."""
    return _pinned(_inverse(_information(total, strengths, None)))


def robust_covariance(
    total: np.ndarray, squares: np.ndarray, strengths: Strengths, prior: Prior | None = None
) -> np.ndarray:
    """Of the strengths `[...,N,N]`, from how far votes were from what was expected of them (Huber's sandwich).

    `squares[...,N,N]`, symmetric, is the sum over pairs of two entrants of the square of `sum(score - expected score)`
    of the votes on one pair: so it holds also where several people said the same of a pair. The tie parameter is taken
    as known.
    """
    chances = _chances(strengths.with_opponent, strengths.tau)
    whole = _inverse(_information(total, strengths, prior))
    return _pinned(whole @ _laplacian(_with_column(squares, _prior_squares(prior, chances))) @ whole)


def _information(total: np.ndarray, strengths: Strengths, prior: Prior | None) -> np.ndarray:
    """Laplacian `[...,N+1,N+1]` of the information that the meetings give, those with the virtual opponent too."""
    known = Prior.of(total.shape[-1]) if prior is None else prior
    chances = _chances(strengths.with_opponent, strengths.tau)
    return _laplacian(_with_column(total, known.won + known.lost + known.tied) * chances.information)


def _prior_squares(prior: Prior | None, chances: "Chances") -> np.ndarray:
    """`[...,N]`: the same squares of the meetings with the virtual opponent, each a pair with a part of a vote."""
    expected = chances.score[..., :-1, -1]
    known = Prior.of(expected.shape[-1]) if prior is None else prior
    parts = (known.won, 1.0, PRIOR_WINS), (known.lost, 0.0, PRIOR_WINS), (known.tied, 0.5, PRIOR_TIES)
    return sum((times * weight * (score - expected) ** 2 for times, score, weight in parts), np.zeros_like(expected))


def _inverse(laplacian: np.ndarray) -> np.ndarray:
    """Only differences are known: the sum of all is pinned."""
    return np.linalg.inv(laplacian + 1.0 / laplacian.shape[-1])


def _pinned(whole: np.ndarray) -> np.ndarray:
    """Of the real ones, `[...,N,N]`, as they differ from their mean."""
    size = whole.shape[-1] - 1
    centre = np.eye(size) - 1.0 / size
    return np.asarray(centre @ whole[..., :size, :size] @ centre)


def _chances(theta: np.ndarray, tau: float | np.ndarray) -> Chances:
    half = np.exp((theta[..., :, None] - theta[..., None, :]) / 2)
    even = np.exp(np.asarray(tau))[..., None, None]
    whole = half + half.swapaxes(-1, -2) + even
    win, tie = half / whole, even / whole
    score = win + tie / 2
    return Chances(win=win, tie=tie, score=score, information=win + tie / 4 - score**2)


def _with_opponent(meetings: WinCounts, prior: Prior | None = None) -> WinCounts:
    size = meetings.wins.shape[-1]
    known = Prior.of(size) if prior is None else prior
    wins = _with_column(meetings.wins, known.won)
    wins[..., size, :size] = known.lost
    return WinCounts(wins=wins, ties=_with_column(meetings.ties, known.tied))


def _with_column(matrix: np.ndarray, column: np.ndarray) -> np.ndarray:
    """`[...,N,N]` to `[...,N+1,N+1]`, with a column, and the same as a row, for the virtual opponent."""
    size = matrix.shape[-1]
    padded = np.zeros((*matrix.shape[:-2], size + 1, size + 1))
    padded[..., :size, :size] = matrix
    padded[..., :size, size] = padded[..., size, :size] = column
    return padded


def _newton_step(meetings: WinCounts, total: np.ndarray, theta: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Change of `theta` and, last, of `tau`, `[...,N+2]`."""
    size = theta.shape[-1]
    chances = _chances(theta, tau)
    by_strength = (meetings.wins + meetings.ties / 2 - total * chances.score).sum(-1)
    gradient = _append(by_strength, (meetings.ties - total * chances.tie).sum((-1, -2)) / 2)
    hessian = np.empty((*gradient.shape, size + 1))
    hessian[..., :size, :size] = _laplacian(total * chances.information) + 1.0 / size
    mixed = (total * chances.tie * (0.5 - chances.score)).sum(-1)
    hessian[..., :size, size] = hessian[..., size, :size] = mixed
    hessian[..., size, size] = (total * chances.tie * (1 - chances.tie)).sum((-1, -2)) / 2
    return np.asarray(np.linalg.solve(hessian, gradient[..., None])[..., 0])


def _laplacian(weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights.sum(-1)[..., None] * np.eye(weights.shape[-1]) - weights)


def _append(values: np.ndarray, last: float | np.ndarray) -> np.ndarray:
    """`[...,N]` and `[...]` to `[...,N+1]`."""
    return np.concatenate([values, np.broadcast_to(last, values.shape[:-1])[..., None]], axis=-1)


def _centred(theta: np.ndarray, tau: float | np.ndarray) -> Strengths:
    mean = theta[..., :-1].mean(-1, keepdims=True)
    return Strengths(theta=theta[..., :-1] - mean, opponent=theta[..., -1] - mean[..., 0], tau=tau)
