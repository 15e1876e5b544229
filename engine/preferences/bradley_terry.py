"""The Bradley-Terry model with ties (Davidson 1970; Newman, JMLR 24, 2023): strengths from wins and ties.

With strengths theta and the tie parameter tau, a meeting of i and j has the weights

    i wins  exp(theta_i)        tie  exp((theta_i + theta_j) / 2 + tau)        j wins  exp(theta_j)

which is a multinomial logit: its log-likelihood is concave. The fit is evalica's (Newman's iteration), finished by
Newton's method, because evalica stops when the strengths stand still, whether or not the tie parameter does; from there
each resample of a bootstrap is a few steps of Newton's. A virtual opponent, with half a win and half a loss against
everybody, keeps the strength of one who has always won finite.
"""

import math
from dataclasses import dataclass

import numpy as np

PRIOR_WINS, PRIOR_TIES = 0.5, 0.1  # meetings of everybody with the virtual opponent: wins of each, and ties
STEPS, TOLERANCE = 50, 1e-6
FIT_LIMIT = 1000  # of Newman's iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class Meetings:
    """`wins[i, j]`: how often i beat j; `ties[i, j] = ties[j, i]`: how often they tied. `float64[N,N]`."""

    wins: np.ndarray
    ties: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """How often they met, `[N,N]`, symmetric."""
        return self.wins + self.wins.T + self.ties


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """`theta[N]`: log strengths with mean 0; `opponent`: the virtual one's; `tau`: the tie parameter."""

    theta: np.ndarray
    opponent: float
    tau: float

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


def fit(meetings: Meetings) -> Strengths:
    """The strengths that fit best."""
    return refit(meetings, newman(meetings))


def newman(meetings: Meetings) -> Strengths:
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


def refit(meetings: Meetings, start: Strengths) -> Strengths:
    """The strengths that fit best, by Newton's method from strengths that are not far off."""
    padded = _with_opponent(meetings)
    total = padded.total
    theta, tau = np.append(start.theta, start.opponent), start.tau
    for _ in range(STEPS):
        step = _newton_step(padded, total, theta, tau)
        step *= min(1.0, 2.0 / np.abs(step).max())
        theta, tau = theta + step[:-1], tau + float(step[-1])
        if np.abs(step).max() < TOLERANCE:
            break
    return _centred(theta, tau)


def covariance(total: np.ndarray, strengths: Strengths) -> np.ndarray:
    """Of the strengths `[N,N]`, as the expected information of so many meetings `total[N,N]` gives it."""
    size = len(total)
    padded = np.zeros((size + 1, size + 1))
    padded[:size, :size] = total
    padded[:size, size] = padded[size, :size] = 2 * PRIOR_WINS + PRIOR_TIES
    chances = _chances(np.append(strengths.theta, strengths.opponent), strengths.tau)
    laplacian = _laplacian(padded * chances.information)
    # Only differences are known: the sum is pinned, first of all, then taken among the real ones alone.
    whole = np.linalg.inv(laplacian + 1.0 / (size + 1))[:size, :size]
    centre = np.eye(size) - 1.0 / size
    return centre @ whole @ centre


def _chances(theta: np.ndarray, tau: float) -> Chances:
    half = np.exp((theta[:, None] - theta[None, :]) / 2)
    whole = half + half.T + math.exp(tau)
    win, tie = half / whole, math.exp(tau) / whole
    score = win + tie / 2
    return Chances(win=win, tie=tie, score=score, information=win + tie / 4 - score**2)


def _with_opponent(meetings: Meetings) -> Meetings:
    size = len(meetings.wins)
    wins, ties = np.zeros((size + 1, size + 1)), np.zeros((size + 1, size + 1))
    wins[:size, :size], ties[:size, :size] = meetings.wins, meetings.ties
    wins[:size, size] = wins[size, :size] = PRIOR_WINS
    ties[:size, size] = ties[size, :size] = PRIOR_TIES
    return Meetings(wins=wins, ties=ties)


def _newton_step(meetings: Meetings, total: np.ndarray, theta: np.ndarray, tau: float) -> np.ndarray:
    """Change of `theta` and, last, of `tau`."""
    size = len(theta)
    chances = _chances(theta, tau)
    gradient = np.empty(size + 1)
    gradient[:size] = (meetings.wins + meetings.ties / 2 - total * chances.score).sum(1)
    gradient[size] = (meetings.ties - total * chances.tie).sum() / 2
    hessian = np.empty((size + 1, size + 1))
    hessian[:size, :size] = _laplacian(total * chances.information) + 1.0 / size
    hessian[:size, size] = hessian[size, :size] = (total * chances.tie * (0.5 - chances.score)).sum(1)
    hessian[size, size] = (total * chances.tie * (1 - chances.tie)).sum() / 2
    return np.linalg.solve(hessian, gradient)


def _laplacian(weights: np.ndarray) -> np.ndarray:
    return np.diag(weights.sum(1)) - weights


def _centred(theta: np.ndarray, tau: float) -> Strengths:
    mean = theta[:-1].mean()
    return Strengths(theta=theta[:-1] - mean, opponent=float(theta[-1] - mean), tau=tau)
