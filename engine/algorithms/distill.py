"""Multistep consistency distillation: a student samples in few long steps, its teacher in many.

source      Multistep Consistency Models, arXiv:2403.06807v3, Eq. 6-7 and Algorithm 1; guidance inside the target as in
            Latent Consistency Models, arXiv:2310.04378, Eq. 14; the pseudo-Huber distance of arXiv:2310.14189, Eq. 8

The noise levels are divided into one segment for each step of the student. Inside a segment that ends at level b, the
teacher moves a latent x_t one short step to x_s. From x_s the student jumps to b, with its current weights and without
gradient (the paper's stop-gradient; no average). The target of its jump from x_t is the same end point. The jump is one
deterministic step of the sampler, so a trained student is sampled by the ordinary `denoise` with that many steps and no
guidance.

    jump, flow      x_b = x_t + (b - t) v
    jump, epsilon   x_b = sqrt(1 - b^2) x0(x_t, eps) + b eps          (DDIM)
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
Kind = Literal["flow", "epsilon"]


def jump(kind: Kind, prediction: Latents, latents: Latents, sigma: float, end: float) -> Latents:
    """Move from `sigma` to `end` in one deterministic step along `prediction`, in float32."""
    latents_factor, prediction_factor = _jump_factors(kind, sigma, end)
    return latents_factor * latents.float() + prediction_factor * prediction.float()


def target_prediction(kind: Kind, arrival: Latents, latents: Latents, sigma: float, end: float) -> Latents:
    """Return the prediction at `sigma` whose jump ends at `arrival`: the student's target.

    Inverse of `jump`.
    """
    latents_factor, prediction_factor = _jump_factors(kind, sigma, end)
    return (arrival.float() - latents_factor * latents.float()) / prediction_factor


def _jump_factors(kind: Kind, sigma: float, end: float) -> tuple[float, float]:
    """Return `(a, b)` of `x_end = a x + b prediction`."""
    match kind:
        case "flow":
            return 1.0, end - sigma
        case "epsilon":
            latents_factor = math.sqrt((1 - end**2) / (1 - sigma**2))
            return latents_factor, end - latents_factor * sigma


def consistency_loss(prediction: Latents, target: Latents, huber: float = 1e-3) -> PerClip:
    """Pseudo-Huber distance `sqrt(mean (p - t)^2 + c^2) - c` of each clip, more robust than squares."""
    error = (prediction.float() - target.float().detach()).square().flatten(1).mean(1)
    return torch.sqrt(error + huber**2) - huber
