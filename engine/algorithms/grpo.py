"""GRPO for diffusion: a random denoising step is an action, its Gaussian density is the policy.

source      GRPO, arXiv:2402.03300, Eq. 3 (clipped objective of a group); Flow-GRPO, arXiv:2505.05470v5, Eq. 5 (over
            denoising steps; the KL in closed form follows Eq. 9 without a number); DanceGRPO, arXiv:2505.07818v4, Eq. 9
            (without the KL); MixGRPO, arXiv:2507.21802v7, Eq. 11 (the sliding window), Eq. 7 (random steps inside it,
            ODE steps outside), Eq. 9 (only the inside is trained) and Algorithm 1, whose window stays at the last
            steps (its code has `--roll_back`); the SDE steps are in `engine/sampling/steps.py`

A step's log-probability is the mean over the clip's elements (about 1e6 of them). A ratio therefore moves by about 1e-5
where a language model's moves by 0.1: useful clip ranges are 1e-5 to 1e-3, and a language model's 0.2 never takes
effect.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PerClip = Float[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """Loss of each clip `loss[B]`, to be averaged, and its diagnostics, each `[B]` and detached.

    `clipped` is 1 where the clip range removed the gradient, else 0. `log_ratio` is 0 before the first update.
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
    """Return `-min(ratio A, clip(ratio, 1 - low, 1 + high) A)` of each clip at one step, in float32.

    `clip_high` defaults to `clip_low`. Raises ValueError for a clip range that is not positive.
    """
    clip_high = clip_low if clip_high is None else clip_high
    if clip_low <= 0 or clip_high <= 0:
        raise ValueError(f"the clip range {clip_low}..{clip_high} must be positive")
    log_ratio = log_prob.float() - old_log_prob.float().detach()
    ratio = log_ratio.exp()
    advantage = advantage.float().detach()
    unclipped, clipped = ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    return PolicyLoss(
        loss=-torch.minimum(unclipped, clipped),
        log_ratio=log_ratio.detach(),
        clipped=(clipped < unclipped).float().detach(),
    )


def step_kl(mean: Float[Tensor, "B *dims"], ref_mean: Float[Tensor, "B *dims"], std: float) -> PerClip:
    """KL of one step from the reference, `|mean - ref|^2 / (2 std^2)`, the mean over a clip's elements.

    Both steps are Gaussians of the same std, so this is exact. (Flow-GRPO's code omits the step's length from std.)
    """
    difference = mean.float() - ref_mean.float().detach()
    return (difference / std).square().flatten(1).mean(1) / 2


def window_steps(num_steps: int, size: int, iteration: int, *, every: int = 25) -> range:
    """Return the `size` random steps of K = `num_steps` at `iteration`: MixGRPO's sliding window.

    Only these steps are random and trained, the others follow the ODE. Fewer random steps mean fewer replays with
    gradients, and easier credit assignment. The window starts at the noisiest steps, advances by one step every `every`
    iterations, and returns to the start before it would reach the last step, which is deterministic in every SDE form.
    Raises ValueError for a window that does not fit.
    """
    last = num_steps - 1
    if not 1 <= size <= last:
        raise ValueError(f"a window of {size} does not fit into steps 0..{last - 1} of {num_steps}: make it smaller")
    start = (iteration // every) % (last - size + 1)
    return range(start, start + size)
