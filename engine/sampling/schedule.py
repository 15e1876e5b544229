"""Which noise levels a clip goes through. A noise level `sigma` is the share of noise in the latents:

    prediction   latents at sigma                          sigma runs
    flow         (1 - sigma) x0 + sigma eps                1 .. 0
    epsilon      sqrt(1 - sigma^2) x0 + sigma eps          sqrt(1 - abar) of the scheduler's table, .. 0

The values are those of the model's own diffusers pipeline: its scheduler's class shifts them, from its own config.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import FamilyError


def sigmas_for(scheduler_config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """`sigmas[K+1]` from the first noise level to the last, falling, for K = `num_steps`.

    `num_tokens` is the latents' t*h*w: schedules with a dynamic shift put more steps at high noise for larger clips.
    Raises FamilyError for a scheduler that is not known here.
    """
    name = str(scheduler_config.get("_class_name"))
    if name not in _SCHEDULES:
        raise FamilyError(f"The scheduler {name} is not supported: use one of {', '.join(sorted(_SCHEDULES))}.")
    config = {key: value for key, value in scheduler_config.items() if not key.startswith("_")}
    return _SCHEDULES[name](config, num_steps, num_tokens)


def shift_mu(num_tokens: int, config: Mapping[str, Any]) -> float:
    """How far the schedule moves towards noise: a straight line through two (tokens, shift) points of the config."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (top - base) / (high - low)
    return float(num_tokens * slope + (base - slope * low))


def _flow_match_euler(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """float32; the even grid 1 .. 1/K that LTXPipeline asks for, shifted as the config says."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
    grid = np.linspace(1.0, 1 / num_steps, num_steps)
    scheduler.set_timesteps(sigmas=grid, mu=shift_mu(num_tokens, config))
    return scheduler.sigmas


def _ddim(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """float64, so that abar = 1 - sigma^2 comes back without loss."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(config))
    scheduler.set_timesteps(num_steps)
    abar = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod.reshape(1)])
    return (1 - abar.double()).sqrt()


_SCHEDULES: dict[str, Callable[[Mapping[str, Any], int, int], Tensor]] = {
    "FlowMatchEulerDiscreteScheduler": _flow_match_euler,
    "DDIMScheduler": _ddim,
}
