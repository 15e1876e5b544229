"""The forward process: clean latents to noisy ones, and what the network should say there. Pure functions.

Every training loss and every estimate of the clean clip goes through these four, so that an algorithm is written once
for all kinds of prediction. `sigma` is the noise level of `schedule.py`; eps is the noise that was mixed in:

    prediction     noisy latents                        target                        clean estimate
    flow           (1 - s) x0 + s eps                   eps - x0                      x - s v
    epsilon        sqrt(1 - s^2) x0 + s eps             eps                           (x - s eps) / sqrt(1 - s^2)
    v_prediction   sqrt(1 - s^2) x0 + s eps             sqrt(1 - s^2) eps - s x0      sqrt(1 - s^2) x - s v

Flow: arXiv:2210.02747; epsilon: arXiv:2006.11239, Eq. 4 and 14; v: arXiv:2202.00512, appendix D.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Prediction = Literal["flow", "epsilon", "v_prediction"]
Latents = Float[Tensor, "B *dims"]
Levels = Float[Tensor, "B"] | float


def add_noise(kind: Prediction, clean: Latents, noise: Latents, sigma: Levels) -> Latents:
    """Clean latents with `noise` (unit normal, same shape) mixed in at `sigma`, float32."""
    signal, level = _shares(kind, sigma, clean)
    return signal * clean.float() + level * noise.float()


def training_target(kind: Prediction, clean: Latents, noise: Latents, sigma: Levels) -> Latents:
    """What a perfect network would predict if it knew both parts, float32."""
    signal, level = _shares(kind, sigma, clean)
    match kind:
        case "flow":
            return noise.float() - clean.float()
        case "epsilon":
            return noise.float()
        case "v_prediction":
            return signal * noise.float() - level * clean.float()


def clean_estimate(kind: Prediction, prediction: Latents, latents: Latents, sigma: Levels) -> Latents:
    """The clean latents that a prediction at `sigma` implies, float32. `epsilon` needs sigma < 1."""
    signal, level = _shares(kind, sigma, latents)
    match kind:
        case "flow":
            return latents.float() - level * prediction.float()
        case "epsilon":
            return (latents.float() - level * prediction.float()) / signal
        case "v_prediction":
            return signal * latents.float() - level * prediction.float()


def noise_estimate(kind: Prediction, prediction: Latents, latents: Latents, sigma: Levels) -> Latents:
    """The noise that a prediction at `sigma` implies, float32."""
    signal, level = _shares(kind, sigma, latents)
    match kind:
        case "flow":
            return latents.float() + signal * prediction.float()
        case "epsilon":
            return prediction.float()
        case "v_prediction":
            return level * latents.float() + signal * prediction.float()


def _shares(kind: Prediction, sigma: Levels, like: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of signal and of noise at `sigma`, float32, shaped to multiply `like`."""
    level = torch.as_tensor(sigma, dtype=torch.float32, device=like.device)
    level = level.reshape(-1, *[1] * (like.ndim - 1)) if level.ndim else level
    match kind:
        case "flow":
            return 1 - level, level
        case "epsilon" | "v_prediction":
            return (1 - level.square()).sqrt(), level
