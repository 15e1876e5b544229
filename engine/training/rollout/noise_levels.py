"""Noise levels of training steps, drawn along the model's own schedule."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from engine.sampling.schedules import sigmas_for

NoiseLevelDistribution = Literal["logit_normal", "uniform"]
NUM_UNIFORM_LEVELS = 1000


def draw_levels(
    scheduler_config: Mapping[str, Any],
    count: int,
    num_tokens: int,
    generator: torch.Generator,
    spread: NoiseLevelDistribution = "logit_normal",
) -> Tensor:
    """Draw noise levels `float32[count]` in the open interval (0, 1).

    `logit_normal` is the sigmoid of a unit normal (arXiv:2403.03206, sec. 3.1), `uniform` is even in the schedule's
    steps; both are then shifted as the model's schedule is. `num_tokens` is the latents' t*h*w.
    """
    drawn = torch.rand(count, generator=generator)
    if spread == "logit_normal":
        drawn = torch.sigmoid(torch.randn(count, generator=generator))
    sigmas = sigmas_for(scheduler_config, NUM_UNIFORM_LEVELS, num_tokens)[:-1].float()
    index = ((1 - drawn) * len(sigmas)).long().clamp(0, len(sigmas) - 1)
    return sigmas[index].clamp(1e-4, 1 - 1e-4)
