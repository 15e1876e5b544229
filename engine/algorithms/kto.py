"""KTO: learning from single clips that people found good or bad, without pairs.

source      KTO, arXiv:2402.01306, Eq. 7 and 8; for diffusion models Diffusion-KTO, arXiv:2404.04465, whose reference
            point is the mean over the batch, at least 0

With a clip's log-ratio to the reference, `r = S / 2 (e_ref - e)` of its squared errors as in `engine.algorithms.dpo`,
and the reference point `z = max(0, mean of r over the batch)`, which carries no gradient:

    loss = w_good (1 - sigmoid(beta (r - z)))  for a good clip,    w_bad (1 - sigmoid(beta (z - r)))  for a bad one

The weights balance unequal numbers of good and bad clips: KTO wants w_good n_good / (w_bad n_bad) between 1 and 4 / 3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PerClip = Float[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KTOLoss:
    """Loss of each clip `loss[B]`, to be averaged, and its implicit rewards `beta r`, detached."""

    loss: PerClip
    rewards: PerClip


def log_ratio(error: PerClip, ref_error: PerClip, error_scale: float) -> PerClip:
    """Return r `[B]`: above 0 for a clip that the policy denoises better than the reference does."""
    return error_scale / 2 * (ref_error.detach() - error)


def kto_loss(
    ratio: PerClip,
    is_good: Bool[Tensor, "B"],
    reference_point: Float[Tensor, ""],
    *,
    beta: float,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> KTOLoss:
    """Return the loss of each clip from its log-ratio; see the module for the terms.

    Raises ValueError for a beta that is not positive or a negative weight.
    """
    if beta <= 0 or min(good_weight, bad_weight) < 0:
        raise ValueError(f"beta {beta} must be above 0, and the weights {good_weight} and {bad_weight} at least 0")
    gap = ratio - reference_point.detach().clamp(min=0)
    value = torch.sigmoid(beta * torch.where(is_good, gap, -gap))
    return KTOLoss(loss=torch.where(is_good, good_weight, bad_weight) * (1 - value), rewards=(beta * ratio).detach())
