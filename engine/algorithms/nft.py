"""DiffusionNFT: learn on the forward process from good and bad clips, with no log-probability and any sampler.

source      DiffusionNFT, arXiv:2509.16117v2, Eq. 5 (the loss; the two implicit policies follow it without numbers) and
            Algorithm 1; the adaptive weight has no number either (sec. 3.3) and is that of its code

From the clean latents x0 of a rollout by the old policy, freshly noised to x_t, two implicit policies are formed
around the old prediction, and each is pulled to x0 by how good the clip was:

    v+ = b v + (1 - b) v_old,    v- = (1 + b) v_old - b v
    loss = [ r |x0 - x0(v+)|^2 / w+  +  (1 - r) |x0 - x0(v-)|^2 / w- ] / b  +  kl |x0(v) - x0(v_ref)|^2
    w = mean |x0 - x0(v)|, detached

The KL is one of clean estimates, like the rest of it, so that both kinds of prediction have one form: for a flow it is
sigma^2 times that of velocities. No constant stands before the first part (the authors' code has a 5), so their
weights of the KL are a fifth here.

x0(v) is the clean estimate that a prediction implies; both kinds of prediction are linear in it, so the same mixing
holds for flow and for noise prediction. Rollouts use no guidance: the policy learns to do without.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
LEAST_WEIGHT = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class NFTLoss:
    """`loss[B]` to be averaged; its parts, each `[B]` and detached."""

    loss: PerClip
    positive: PerClip
    negative: PerClip
    kl: PerClip


def optimality_probability(advantage: PerClip, limit: float = 5.0) -> PerClip:
    """How likely a clip counts as good, 0..1: the advantage clipped to `limit` and mapped, 0 to one half."""
    return advantage.float().clamp(-limit, limit) / limit / 2 + 0.5


def nft_loss(
    clean: Latents,
    estimate: Latents,
    old_estimate: Latents,
    reference_estimate: Latents | None,
    goodness: PerClip,
    *,
    beta: float = 1.0,
    kl: float = 0.0,
) -> NFTLoss:
    """The loss of each clip from clean estimates at one noise level.

    `estimate` carries the gradient; `old_estimate` is that of the policy that made the rollout, `reference_estimate`
    that of the model before training (None leaves the KL out). `goodness[B]` in 0..1 is `optimality`. Raises ValueError
    for beta outside 0..1 or goodness outside 0..1, NaN included.
    """
    if not 0 < beta <= 1:
        raise ValueError(f"beta {beta} is out of range: it must be above 0 and at most 1")
    if not bool(((goodness >= 0) & (goodness <= 1)).all()):
        raise ValueError(f"goodness must be within 0..1, got {goodness.tolist()}")
    old = old_estimate.float().detach()
    step = beta * (estimate.float() - old)
    positive, negative = _pull(clean, old + step), _pull(clean, old - step)
    drift = torch.zeros_like(goodness)
    if reference_estimate is not None:
        drift = (estimate.float() - reference_estimate.float().detach()).square().flatten(1).mean(1)
    return NFTLoss(
        loss=(goodness * positive + (1 - goodness) * negative) / beta + kl * drift,
        positive=positive.detach(),
        negative=negative.detach(),
        kl=drift.detach(),
    )


def _pull(clean: Latents, estimate: Latents) -> PerClip:
    """Squared error over its own mean size: every noise level then pulls alike."""
    error = (estimate - clean.float()).flatten(1)
    return error.square().mean(1) / error.detach().abs().mean(1).clamp(min=LEAST_WEIGHT)


def old_policy_decay(step: int, *, flat: int = 0, slope: float = 0.001, most: float = 0.5) -> float:
    """How much of the old policy stays after an update, `old <- d old + (1 - d) new`: `slope` a step after `flat`.

    The paper's two settings are the default and (75, 0.0075, 0.999); 0 makes the next rollouts fully on-policy.
    """
    return min(most, max(0.0, slope * (step - flat)))
