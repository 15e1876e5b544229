"""The learned back end of `seam`: a two-layer network on the jump scores near a step, run in numpy.

Its weights are in `assets/seam_critic/seam_critic.npz`; `python -m tools.rewards.train_seam_critic` makes them again.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from rewards.errors import RewardUnavailable
from rewards.weights.assets import ASSETS

PATH = ASSETS / "seam_critic" / "seam_critic.npz"
REACH = 4  # steps on each side in the critic's input


@dataclass(frozen=True, slots=True, kw_only=True)
class Critic:
    """A two-layer network: `log-odds = relu(x w1 + b1) w2 + b2`.

    x are the `5 x (2 REACH + 1)` scores in units of 10.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray


@cache
def open_critic(path: Path = PATH) -> Critic:
    """Read the critic. Raises RewardUnavailable when the file is missing."""
    if not path.is_file():
        raise RewardUnavailable(
            f"The seam critic is not at {path.parent.name}/{path.name}: "
            "run `python -m tools.rewards.train_seam_critic`."
        )
    with np.load(path) as stored:
        return Critic(**{name: stored[name] for name in ("w1", "b1", "w2", "b2")})


def critic_inputs(scores: np.ndarray) -> np.ndarray:
    """Gather the scores `float64[5,N]` around each step: `float64[N, 5 (2 REACH + 1)]`, 0 beyond the ends."""
    padded = np.pad(scores, ((0, 0), (REACH, REACH)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1, axis=1)
    return np.asarray(windows.transpose(1, 0, 2).reshape(scores.shape[1], -1) / 10)


def critic_log_odds(critic: Critic, scores: np.ndarray) -> np.ndarray:
    """Return `float64[N]`: the log-odds that each step is a seam; 0 is undecided."""
    hidden = np.maximum(critic_inputs(scores) @ critic.w1 + critic.b1, 0)
    return np.asarray(hidden @ critic.w2 + critic.b2, np.float64)
