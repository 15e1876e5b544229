"""AWM, RVM and DGPO: matching errors on the forward process, weighted by the advantages of clips.

source      AWM: Advantage Weighted Matching, arXiv:2509.25050; the clip of the ratio is PPO's (arXiv:1707.06347)
            RVM: Scaling RL for Diffusion Models via Velocity Matching, arXiv:2608.23664
            DGPO: Direct Group Preference Optimization, arXiv:2510.08425, and its code

The network is compared with its ideal output at a noised copy of a clip's clean latents. A is a clip's advantage, d its
matching error; d_old and d_ref are those of the policy of the rollouts and of the model before training, with the same
noise level and noise:

    awm     ratio = exp(d_old - d),  loss = -min(A ratio, A clip(ratio, 1 - e, 1 + e))
    rvm     loss = 0.1 A d
    dgpo    loss = log(1 + exp(z)) / b,  z = b / G sum_i A_i (d_i - d_ref_i)  over the G clips of a group

A negative weight on a squared error is unbounded below. The clip of the ratio bounds it in AWM, and DGPO drops the
gradient of a clip that has moved too far in its direction. RVM is bounded only by the limit of the advantages and by
pulls to references, which a trainer may add to each of them. Rollouts come from any sampler and use no guidance.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
TimeWeight = Literal["uniform", "ghuber"]
Weighting = Literal["awm", "rvm", "dgpo"]
GHUBER_POWER, GHUBER_FLOOR = 0.25, 1e-6
RVM_SCALE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchingLoss:
    """Losses `loss[B]`, of DGPO `[P]`, to be averaged; `ratio[B]` and where it was `clipped[B]`, detached."""

    loss: Tensor
    ratio: PerClip
    clipped: PerClip


def matching_error(output: Latents, target: Latents, sigma: PerClip, weight: TimeWeight = "uniform") -> PerClip:
    """Return the weighted matching error `[B]` of a network output at noise levels `sigma[B]`.

    "uniform" is the mean squared error. "ghuber" is AWM's (s / p) ((error + e)^p - e^p) with p = 0.25, which grows
    slowly with large errors and counts low noise levels less.
    """
    error = (output.float() - target.float()).square().flatten(1).mean(1)
    if weight == "uniform":
        return error
    grown = (error + GHUBER_FLOOR) ** GHUBER_POWER - GHUBER_FLOOR**GHUBER_POWER
    return sigma.float() / GHUBER_POWER * grown


def awm_loss(error: PerClip, old_error: PerClip, advantage: PerClip, *, clip_range: float) -> MatchingLoss:
    """Return AWM's loss of each clip; `error` carries the gradient.

    Raises ValueError for a clip range that is not above 0.
    """
    ratio, bounded = _ratio(error, old_error, clip_range)
    loss = -torch.minimum(advantage * ratio, advantage * bounded)
    return MatchingLoss(loss=loss, ratio=ratio.detach(), clipped=(ratio != bounded).float().detach())


def rvm_loss(error: PerClip, advantage: PerClip) -> PerClip:
    """Return RVM's loss of each clip; `advantage` is that of the whole rollout set's std, within a limit."""
    return RVM_SCALE * advantage * error


def dgpo_loss(
    error: PerClip,
    old_error: PerClip,
    reference_error: PerClip,
    advantage: PerClip,
    *,
    group_size: int,
    beta: float,
    clip_range: float,
) -> MatchingLoss:
    """Return DGPO's loss of each group of consecutive clips; `error` carries the gradient.

    The clips of a group share noise and noise level. The authors' code has the same gradient: that of sigmoid(z) A d,
    the mean over clips, with the sigmoid held constant.
    Raises ValueError for a clip range that is not above 0.
    """
    ratio, bounded = _ratio(error, old_error, clip_range)
    clipped = (ratio - bounded) * advantage > 0
    change = torch.where(clipped, error.detach(), error) - reference_error
    compared = beta * (advantage * change).unflatten(0, (-1, group_size)).mean(1)
    return MatchingLoss(
        loss=torch.nn.functional.softplus(compared) / beta, ratio=ratio.detach(), clipped=clipped.float().detach()
    )


def _ratio(error: PerClip, old_error: PerClip, clip_range: float) -> tuple[PerClip, PerClip]:
    """Return the likelihood ratio to the old policy, and the ratio within the clip range."""
    if not clip_range > 0:
        raise ValueError(f"clip_range {clip_range} is out of range: it must be above 0")
    ratio = (old_error.detach() - error).exp()
    return ratio, ratio.clamp(1 - clip_range, 1 + clip_range)


def reference_decay(step: int, *, slope: float, most: float) -> float:
    """Return the decay d of the moving reference: a ramp up to `most`.

    The update is `reference <- d reference + (1 - d) policy`.
    """
    return min(most, slope * step)
