"""The forward process: noisy latents from clean ones, and the network's training target.

Pure functions.

These are the only conversions between clean latents, noise and network output, for all prediction types. s is the noise
level of `schedules.py`, one for all clips or one each; a = sqrt(1 - s^2):

    prediction      noisy latents        prediction        clean x0        noise eps
    flow            (1 - s) x0 + s eps   v = eps - x0      x - s v         x + (1 - s) v
    epsilon         a x0 + s eps         eps               (x - s eps)/a   eps
    v_prediction    a x0 + s eps         v = a eps - s x0  a x - s v       a v + s x

Flow: arXiv:2210.02747; epsilon: arXiv:2006.11239, Eq. 4 and 14; v: arXiv:2202.00512, appendix D.
"""

import math

from jaxtyping import Float
from torch import Tensor

from engine.family_interface import Prediction

Latents = Float[Tensor, "B *dims"]
Sigma = Float[Tensor, "B"] | float


def add_noise(prediction_type: Prediction, clean: Latents, noise: Latents, sigma: Sigma) -> Latents:
    """Mix unit-normal `noise` into clean latents at noise level `sigma`, in float32."""
    signal, level = _signal_and_noise(prediction_type, sigma, clean)
    return signal * clean.float() + level * noise.float()


def training_target(prediction_type: Prediction, clean: Latents, noise: Latents, sigma: Sigma) -> Latents:
    """Return the ideal network output for `clean` and `noise`, float32.

    The inverse of `predict_x0_and_noise`.
    """
    signal, level = _signal_and_noise(prediction_type, sigma, clean)
    match prediction_type:
        case "flow":
            return noise.float() - clean.float()
        case "epsilon":
            return noise.float()
        case "v_prediction":
            return signal * noise.float() - level * clean.float()


def predict_x0_and_noise(
    prediction_type: Prediction, prediction: Latents, latents: Latents, sigma: Sigma
) -> tuple[Latents, Latents]:
    """Return the clean latents and the noise that a prediction at `sigma` implies, float32.

    `epsilon` needs sigma < 1.
    """
    signal, level = _signal_and_noise(prediction_type, sigma, latents)
    x, output = latents.float(), prediction.float()
    match prediction_type:
        case "flow":
            return x - level * output, x + signal * output
        case "epsilon":
            return (x - level * output) / signal, output
        case "v_prediction":
            return signal * x - level * output, signal * output + level * x


def implied_x0(
    prediction_type: Prediction, latents: Latents, next_latents: Latents, sigma: float, sigma_next: float
) -> Latents:
    """Return the clean latents, float32, that a deterministic step from `sigma` to `sigma_next` implies.

    Both ends of the step are a x0 + s eps with the same x0 and eps. After a step with fresh noise it is approximate.
    """
    signal, level = _signal_and_noise(prediction_type, sigma, latents)
    next_signal, next_level = _signal_and_noise(prediction_type, sigma_next, latents)
    both = next_level * latents.float() - level * next_latents.float()
    return both / (next_level * signal - level * next_signal)


def expected_std(prediction_type: Prediction, sigma: float) -> float:
    """Std of noisy latents at `sigma`, for clean latents of unit variance, as VAEs scale them."""
    return math.hypot(1 - sigma, sigma) if prediction_type == "flow" else 1.0


def _signal_and_noise(prediction_type: Prediction, sigma: Sigma, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Coefficients of signal and noise; for one level a clip they are float32, shaped to multiply `like`."""
    flow = prediction_type == "flow"
    if isinstance(sigma, Tensor):
        level = sigma.float().to(like.device).reshape(-1, *[1] * (like.ndim - 1))
        return (1 - level if flow else (1 - level.square()).clamp(min=0).sqrt()), level
    return (1 - sigma if flow else math.sqrt(max(0.0, 1 - sigma**2))), sigma
