"""AWM: advantage-weighted matching on the forward process, without log-probabilities of a sampler.

source      Advantage Weighted Matching, arXiv:2509.25050; the clip of the ratio is PPO's (arXiv:1707.06347)

The likelihood of a clip is estimated by the matching error of the network at a noised copy of its clean latents. Policy
and old policy are compared on the same noise levels and the same noise:

    l = w(s) mean |v - target|^2,    ratio = exp(l_old - l)
    loss = -min(A ratio, A clip(ratio, 1 - e, 1 + e))  +  kl mean |v - v_ref|^2  +  ema_kl mean |v - v_ema|^2

A negative weight on a squared error is unbounded below; the clip of the ratio bounds it. Rollouts come from any sampler
and use no guidance.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
TimeWeight = Literal["uniform", "ghuber"]
GHUBER_POWER, GHUBER_FLOOR = 0.25, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class AWMLoss:
    """Loss of each clip `loss[B]`, to be averaged, and its terms, each `[B]` and detached."""

    loss: PerClip
    ratio: PerClip
    clipped: PerClip
    kl: PerClip


def matching_error(output: Latents, target: Latents, sigma: PerClip, weight: TimeWeight = "uniform") -> PerClip:
    """Return the weighted matching error `[B]` of a network output at noise levels `sigma[B]`.

    "uniform" is the mean squared error. "ghuber" is the authors' (s / p) ((error + e)^p - e^p) with p = 0.25, which
    grows slowly with large errors and counts low noise levels less.
    """
    error = (output.float() - target.float()).square().flatten(1).mean(1)
    if weight == "uniform":
        return error
    grown = (error + GHUBER_FLOOR) ** GHUBER_POWER - GHUBER_FLOOR**GHUBER_POWER
    return sigma.float() / GHUBER_POWER * grown


def awm_loss(
    error: PerClip,
    old_error: PerClip,
    advantage: PerClip,
    *,
    clip_range: float,
    divergences: tuple[tuple[float, PerClip], ...] = (),
) -> AWMLoss:
    """Return the loss of each clip from the matching errors of policy and old policy.

    `error` carries the gradient. `divergences` are pairs of a weight and a mean squared difference of outputs `[B]`
    from a reference. Raises ValueError for a clip range that is not above 0.
    """
    if not clip_range > 0:
        raise ValueError(f"clip_range {clip_range} is out of range: it must be above 0")
    ratio = (old_error.detach() - error).exp()
    bounded = ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = -torch.minimum(advantage * ratio, advantage * bounded)
    pull = torch.zeros_like(ratio)
    for weight, divergence in divergences:
        pull = pull + weight * divergence
    return AWMLoss(
        loss=loss + pull,
        ratio=ratio.detach(),
        clipped=(ratio != bounded).float().detach(),
        kl=pull.detach(),
    )


def reference_decay(step: int, *, slope: float, most: float) -> float:
    """Return the decay d of the moving reference: a ramp up to `most`.

    The update is `reference <- d reference + (1 - d) policy`.
    """
    return min(most, slope * step)
