"""Multistep consistency distillation: a student that goes in a few long steps where the teacher goes in many.

source      Multistep Consistency Models, arXiv:2403.06807v3, Eq. 6-7 and Algorithm 1; guidance inside the target as in
            Latent Consistency Models, arXiv:2310.04378, Eq. 14; the pseudo-Huber distance of arXiv:2310.14189, Eq. 8

The noise levels are cut into as many segments as the student has steps. Inside a segment that ends at level b, a
latent x_t is carried one short step to x_s by the teacher. From x_s the student jumps to b, with its present weights
and without gradient (the paper's stop-gradient; no average), and from x_t it is to arrive at the same place. The jump
is one deterministic step of the sampler, so a trained student is sampled by the ordinary `denoise` with that many
steps and no guidance.

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
    """From `sigma` to `end` in one deterministic step along `prediction`, float32."""
    keep, turn = _jump_shares(kind, sigma, end)
    return keep * latents.float() + turn * prediction.float()


def target_prediction(kind: Kind, arrival: Latents, latents: Latents, sigma: float, end: float) -> Latents:
    """The prediction at `sigma` whose jump ends at `arrival`: what the student is trained to say. Inverse of `jump`."""
    keep, turn = _jump_shares(kind, sigma, end)
    return (arrival.float() - keep * latents.float()) / turn


def _jump_shares(kind: Kind, sigma: float, end: float) -> tuple[float, float]:
    """`(keep, turn)` of `x_end = keep x + turn prediction`."""
    match kind:
        case "flow":
            return 1.0, end - sigma
        case "epsilon":
            keep = math.sqrt((1 - end**2) / (1 - sigma**2))
            return keep, end - keep * sigma


def consistency_loss(prediction: Latents, target: Latents, huber: float = 1e-3) -> PerClip:
    """Pseudo-Huber distance `sqrt(mean (p - t)^2 + c^2) - c` of each clip, less drawn to outliers than squares are."""
    error = (prediction.float() - target.float().detach()).square().flatten(1).mean(1)
    return torch.sqrt(error + huber**2) - huber
