"""GRPO for diffusion: each random denoising step is an action, and its Gaussian density the policy.

source      GRPO, arXiv:2402.03300, Eq. 3 (clipped objective of a group); Flow-GRPO, arXiv:2505.05470v5, Eq. 5 (over
            denoising steps; the KL in closed form follows Eq. 9 without a number); DanceGRPO, arXiv:2505.07818v4, Eq. 9
            (without the KL); the SDE steps themselves stand in `sampling/step.py`

A step's log-probability is the mean over the clip's elements (about 1e6 of them), so a ratio moves by about 1e-5 where
a language model's moves by 0.1: clip ranges run from 1e-5 to 1e-3, and a language model's 0.2 never fires.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PerClip = Float[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """`loss[B]` to be averaged, and what to watch, each `[B]` and detached.

    `clipped` is 1 where the clip range cut the gradient off, else 0; `log_ratio` is 0 before the first update.
    """

    loss: PerClip
    log_ratio: PerClip
    clipped: PerClip


def policy_loss(
    log_prob: PerClip,
    old_log_prob: PerClip,
    advantage: PerClip,
    *,
    clip_low: float,
    clip_high: float | None = None,
) -> PolicyLoss:
    """`-min(ratio A, clip(ratio, 1 - low, 1 + high) A)` for each clip at one step, all in float32.

    `clip_high` is `clip_low` unless given. Raises ValueError for a clip range that is not positive.
    """
    clip_high = clip_low if clip_high is None else clip_high
    if clip_low <= 0 or clip_high <= 0:
        raise ValueError(f"the clip range {clip_low}..{clip_high} must be positive")
    log_ratio = log_prob.float() - old_log_prob.float().detach()
    ratio = log_ratio.exp()
    advantage = advantage.float().detach()
    free, held = ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    return PolicyLoss(
        loss=-torch.minimum(free, held),
        log_ratio=log_ratio.detach(),
        clipped=(held < free).float().detach(),
    )


def step_kl(mean: Float[Tensor, "B *dims"], ref_mean: Float[Tensor, "B *dims"], std: float) -> PerClip:
    """KL of one step's Gaussian from the reference's, `|mean - ref|^2 / (2 std^2)`, the mean over a clip's elements.

    Both have the same std, so this is exact. (Flow-GRPO's code leaves the step's length out of std.)
    """
    difference = mean.float() - ref_mean.float().detach()
    return (difference / std).square().flatten(1).mean(1) / 2
