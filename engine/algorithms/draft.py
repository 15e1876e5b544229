"""DRaFT: training by the gradient of a reward, through the decoder and the last denoising steps.

source      DRaFT, arXiv:2309.17400, Eq. 2 and Algorithm 1 (K last steps, DRaFT-K); AlignProp, arXiv:2310.03739; for
            video: VADER, arXiv:2407.08737

    loss = - sum_i w_i r_i(decode(x_0)) + beta / K sum_k mean |p_k - p_k^ref|^2

r_i are rewards of the pixels, w_i their weights, p_k the network's output in step k of the last K, and p_k^ref that of
the model before training on the same latents. The pull to it is ours, as a squared distance of outputs; the paper
limits over-optimisation by the scale of the LoRA.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

PerClip = Float[Tensor, "B"]


def weighted_reward(scores: Sequence[PerClip], weights: Float[Tensor, "R"]) -> PerClip:
    """Return the weighted mean of each clip's R scores."""
    together = torch.stack(list(scores))
    return (weights.to(together)[:, None] * together).sum(0) / weights.sum().clamp(min=1e-9).to(together)


def draft_loss(reward: PerClip, distances: Sequence[PerClip], beta: float) -> PerClip:
    """Return each clip's loss; `distances` are the squared distances of the outputs of the last steps."""
    pull = torch.stack(list(distances)).mean(0) if distances else torch.zeros_like(reward)
    return beta * pull - reward
