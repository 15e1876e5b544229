"""DiffusionNFT: learning on the forward process from good and bad clips, without log-probabilities.

source      DiffusionNFT, arXiv:2509.16117v2, Eq. 5 (the loss; the two implicit policies follow it without numbers) and
            Algorithm 1; the adaptive weight has no number either (sec. 3.3) and is that of its code

The clean latents x0 of a rollout by the old policy are noised again to x_t. Two implicit policies are formed around the
old prediction, and each is moved towards x0, weighted by the clip's optimality r. Any sampler can make the rollouts.

    v+ = b v + (1 - b) v_old,    v- = (1 + b) v_old - b v
    loss = [ r |x0 - x0(v+)|^2 / w+  +  (1 - r) |x0 - x0(v-)|^2 / w- ] / b  +  kl |x0(v) - x0(v_ref)|^2
    w = mean |x0 - x0(v)|, detached

The KL is measured on clean estimates, like the other terms, so one form serves all prediction types: for a flow it is
sigma^2 times the KL of velocities. The first term has no constant factor (the authors' code has a 5), so their KL
weights correspond to a fifth here.

x0(v) is the clean estimate implied by a prediction. It is linear in the prediction, so the same mixing holds for flow
and for noise prediction. Rollouts use no guidance: the policy learns to work without it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
MIN_WEIGHT = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class NFTLoss:
    """Loss of each clip `loss[B]`, to be averaged, and its terms, each `[B]` and detached."""

    loss: PerClip
    positive: PerClip
    negative: PerClip
    kl: PerClip


def optimality_probability(advantage: PerClip, limit: float = 5.0) -> PerClip:
    """Return the optimality r in 0..1: the advantage clipped to -limit..limit and scaled (0 gives 0.5)."""
    return advantage.float().clamp(-limit, limit) / limit / 2 + 0.5


def nft_loss(
    clean: Latents,
    estimate: Latents,
    old_estimate: Latents,
    reference_estimate: Latents | None,
    optimality: PerClip,
    *,
    beta: float = 1.0,
    kl: float = 0.0,
) -> NFTLoss:
    """Return the loss of each clip from clean estimates at one noise level.

    `estimate` carries the gradient. `old_estimate` is from the policy that made the rollout, `reference_estimate` from
    the model before training (None omits the KL). `optimality[B]` in 0..1 is from `optimality_probability`. Raises
    ValueError for a beta or an optimality outside 0..1, NaN included.
    """
    if not 0 < beta <= 1:
        raise ValueError(f"beta {beta} is out of range: it must be above 0 and at most 1")
    if not bool(((optimality >= 0) & (optimality <= 1)).all()):
        raise ValueError(f"optimality must be within 0..1, got {optimality.tolist()}")
    old = old_estimate.float().detach()
    step = beta * (estimate.float() - old)
    positive, negative = _normalized_error(clean, old + step), _normalized_error(clean, old - step)
    divergence = torch.zeros_like(optimality)
    if reference_estimate is not None:
        divergence = (estimate.float() - reference_estimate.float().detach()).square().flatten(1).mean(1)
    return NFTLoss(
        loss=(optimality * positive + (1 - optimality) * negative) / beta + kl * divergence,
        positive=positive.detach(),
        negative=negative.detach(),
        kl=divergence.detach(),
    )


def _normalized_error(clean: Latents, estimate: Latents) -> PerClip:
    """Squared error divided by the mean absolute error, so that all noise levels have equal weight."""
    error = (estimate - clean.float()).flatten(1)
    return error.square().mean(1) / error.detach().abs().mean(1).clamp(min=MIN_WEIGHT)


def old_policy_decay(step: int, *, flat: int = 0, slope: float = 0.001, most: float = 0.5) -> float:
    """Return the old policy's decay d of `old <- d old + (1 - d) new`: `slope` a step after `flat`.

    `most` is its maximum. The paper's two settings are the default and (75, 0.0075, 0.999); 0 makes the next rollouts
    fully on-policy.
    """
    return min(most, max(0.0, slope * (step - flat)))
