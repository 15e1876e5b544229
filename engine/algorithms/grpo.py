"""GRPO for diffusion: a random denoising step is an action, its Gaussian density is the policy.

source      GRPO, arXiv:2402.03300, Eq. 3 (clipped objective of a group); Flow-GRPO, arXiv:2505.05470v5, Eq. 5 (over
            denoising steps; the KL in closed form follows Eq. 9 without a number); DanceGRPO, arXiv:2505.07818v4, Eq. 9
            (without the KL); MixGRPO, arXiv:2507.21802v7, Eq. 11 (the sliding window), Eq. 7 (SDE steps inside it,
            ODE steps outside), Eq. 9 (only the inside is trained) and Algorithm 1, whose window stays at the last
            steps (its code has `--roll_back`); Flash-GRPO, arXiv:2605.15980 and its code (one SDE step for all
            clips of a prompt, a weight for each step); GRPO-Guard, arXiv:2510.22319, Eq. 8, and its code (the loss
            over h); Flow-DPPO, arXiv:2606.11025 (a mask by KL instead of the clip); the SDE steps are in
            `engine/sampling/steps.py`

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
    log_ratio: PerClip, advantage: PerClip, *, clip_low: float, clip_high: float | None = None
) -> PolicyLoss:
    """Return `-min(ratio A, clip(ratio, 1 - low, 1 + high) A)` of each clip at one step, in float32.

    `log_ratio` is the log-probability minus that of the rollout. `clip_high` defaults to `clip_low`. Raises ValueError
    for a clip range that is not positive.
    """
    clip_high = clip_low if clip_high is None else clip_high
    if clip_low <= 0 or clip_high <= 0:
        raise ValueError(f"the clip range {clip_low}..{clip_high} must be positive")
    ratio = log_ratio.exp()
    advantage = advantage.float().detach()
    unclipped, clipped = ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    return PolicyLoss(
        loss=-torch.minimum(unclipped, clipped),
        log_ratio=log_ratio.detach(),
        clipped=(clipped < unclipped).float().detach(),
    )


def masked_policy_loss(log_ratio: PerClip, advantage: PerClip, divergence: PerClip, *, limit: float) -> PolicyLoss:
    """Return Flow-DPPO's `-ratio A` of each clip.

    It is 0 where a step that has moved too far would move further.

    Too far is a `divergence` (`step_kl` from the rollout's policy) of at least `limit`, and further is a ratio above 1
    with a positive advantage or below 1 with a negative one. Raises ValueError for a limit that is not positive.
    """
    if limit <= 0:
        raise ValueError(f"the limit {limit} of the divergence must be positive")
    ratio, advantage = log_ratio.exp(), advantage.float().detach()
    dropped = (divergence.detach() >= limit) & (log_ratio.detach() * advantage > 0)
    return PolicyLoss(
        loss=torch.where(dropped, 0.0, -ratio * advantage), log_ratio=log_ratio.detach(), clipped=dropped.float()
    )


def guarded_log_ratio(log_ratio: PerClip, divergence: PerClip, std: PerClip) -> PerClip:
    """Return GRPO-Guard's log ratio, `(log ratio + divergence) std`, with the step's `std[B]`.

    A log ratio is `z (mean - old) / std - divergence`, with the step's noise z and the divergence `step_kl(mean, old)`:
    its expectation is below 0 and its spread depends on the step. What remains here is `z (mean - old)`, which is
    centred and of the size of the change. The authors also divide the loss by the step's length h.
    """
    return (log_ratio + divergence) * std


def gradient_weights(gains: PerClip, candidates: Float[Tensor, "K"]) -> PerClip:
    """Return weights that make the gradients of all steps equally large, as in Flash-GRPO.

    `gains` and `candidates` are the `prediction_gain` of the steps taken, and of all steps that may be random: the
    weights of these have a mean of 1. (Flash-GRPO's code takes the mean over a batch.) LongCat-Video's weight,
    sqrt(s / (1 - s)) / sqrt(h), is the same for the form flow_grpo, but for the mean.
    """
    return 1 / gains / (1 / candidates).mean()


def step_kl(mean: Float[Tensor, "B *dims"], ref_mean: Float[Tensor, "B *dims"], std: float | PerClip) -> PerClip:
    """KL of one step from the reference, `|mean - ref|^2 / (2 std^2)`, the mean over a clip's elements.

    Both steps are Gaussians of the same std, so this is exact. (Flow-GRPO's code omits the step's length from std.)
    """
    difference = mean.float() - ref_mean.float().detach()
    if isinstance(std, Tensor):
        std = std.to(difference).reshape(-1, *[1] * (difference.ndim - 1))
    return (difference / std).square().flatten(1).mean(1) / 2


def window_steps(num_steps: int, size: int, iteration: int, *, every: int = 25) -> range:
    """Return the `size` SDE steps of K = `num_steps` at `iteration`: MixGRPO's sliding window.

    Only these steps are random and trained, the others follow the ODE. Fewer SDE steps mean fewer replays with
    gradients, and easier credit assignment. The window starts at the noisiest steps, advances by one step every `every`
    iterations, and returns to the start before it would reach the last step, which is deterministic in every SDE form.
    Raises ValueError for a window that does not fit.
    """
    last = num_steps - 1
    if not 1 <= size <= last:
        raise ValueError(f"a window of {size} does not fit into steps 0..{last - 1} of {num_steps}: make it smaller")
    start = (iteration // every) % (last - size + 1)
    return range(start, start + size)


def sde_steps(candidates: int, size: int, generator: torch.Generator) -> tuple[int, ...]:
    """Draw `size` of the steps 0..`candidates` - 1, no two of them adjacent; each step is equally likely.

    The first and the last candidate count as adjacent too, which makes all steps equally likely: the expected loss is
    that of all candidates, times the share of them that is drawn. Raises ValueError where so many do not fit.
    """
    if not (size == 1 <= candidates or 1 <= size <= candidates // 2):
        raise ValueError(f"{size} steps without neighbours do not fit among {candidates}: make the window smaller")
    first = int(torch.randint(candidates, (), generator=generator))
    places = candidates - 1 - size  # of the others, on the line that remains when the first step and neighbours are cut
    drawn = torch.randperm(max(places, 0), generator=generator)[: size - 1].sort().values.tolist()
    return tuple(sorted([first, *((first + 2 + place + gap) % candidates for gap, place in enumerate(drawn))]))
