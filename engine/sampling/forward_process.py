"""The forward process: clean latents to noisy ones, and what the network should say there. Pure functions.

Everything that speaks of clean latents and of noise goes through these three, so that it is written once for all kinds
of prediction. s is the noise level of `schedule.py`, one for all clips or one each; a = sqrt(1 - s^2):

    prediction      noisy latents        prediction        clean x0        noise eps
    flow            (1 - s) x0 + s eps   v = eps - x0      x - s v         x + (1 - s) v
    epsilon         a x0 + s eps         eps               (x - s eps)/a   eps
    v_prediction    a x0 + s eps         v = a eps - s x0  a x - s v       a v + s x

Flow: arXiv:2210.02747; epsilon: arXiv:2006.11239, Eq. 4 and 14; v: arXiv:2202.00512, appendix D.
"""

import math

from jaxtyping import Float
from torch import Tensor

from engine.model_spec import Prediction

Latents = Float[Tensor, "B *dims"]
Level = Float[Tensor, "B"] | float


def add_noise(of: Prediction, clean: Latents, noise: Latents, sigma: Level) -> Latents:
    """Clean latents with unit-normal `noise` mixed in at level `sigma`, float32."""
    signal, level = _shares(of, sigma, clean)
    return signal * clean.float() + level * noise.float()


def training_target(of: Prediction, clean: Latents, noise: Latents, sigma: Level) -> Latents:
    """The prediction that says `clean` and `noise`, float32: what training aims at; undoes `predict_x0_and_noise`."""
    signal, level = _shares(of, sigma, clean)
    match of:
        case "flow":
            return noise.float() - clean.float()
        case "epsilon":
            return noise.float()
        case "v_prediction":
            return signal * noise.float() - level * clean.float()


def predict_x0_and_noise(
    of: Prediction, prediction: Latents, latents: Latents, sigma: Level
) -> tuple[Latents, Latents]:
    """What a prediction at `sigma` says of the clean latents and of the noise, float32. `epsilon` needs sigma < 1."""
    signal, level = _shares(of, sigma, latents)
    x, output = latents.float(), prediction.float()
    match of:
        case "flow":
            return x - level * output, x + signal * output
        case "epsilon":
            return (x - level * output) / signal, output
        case "v_prediction":
            return signal * x - level * output, signal * output + level * x


def expected_std(of: Prediction, sigma: float) -> float:
    """Standard deviation of noisy latents at `sigma` where clean latents have unit variance, as VAEs scale them."""
    return math.hypot(1 - sigma, sigma) if of == "flow" else 1.0


def _shares(of: Prediction, sigma: Level, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Shares of signal and of noise; those of a level a clip are float32, shaped to multiply `like`."""
    if isinstance(sigma, Tensor):
        level = sigma.float().to(like.device).reshape(-1, *[1] * (like.ndim - 1))
        return (1 - level if of == "flow" else (1 - level.square()).clamp(min=0).sqrt()), level
    return (1 - sigma if of == "flow" else math.sqrt(max(0.0, 1 - sigma**2))), sigma
