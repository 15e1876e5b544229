"""Which noise levels a clip goes through. A noise level `sigma` is the share of noise in the latents:

    prediction   latents at sigma                          sigma runs
    flow         (1 - sigma) x0 + sigma eps                1 .. 0
    otherwise    sqrt(1 - sigma^2) x0 + sigma eps          sqrt(1 - abar) of the scheduler's table, .. 0

The values are those of the model's own diffusers pipeline: its scheduler's class shifts them, from its own config. A
scheduler names levels here, not a solver: all flow models are stepped by Euler, all others by DDIM.

Where a pipeline's solver is another, its clips differ. Against UniPC of order 2 (Wan's own), on random toy weights: RMS
0.10 at 8 and 20 steps for latents of std 1.4. diffusers' DDIM ends a step at the timestep t - 1000 // num_steps, which
is not the next timestep under "linspace" spacing (AnimateDiff's documentation); here a step ends where the next one
begins. On random toy weights, 25 steps: RMS 1.9 for latents of std 14.8.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import FamilyError


def sigmas_for(scheduler_config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """`sigmas[K+1]` from the first noise level to the last, falling, for K = `num_steps`.

    `num_tokens` (see the function of this name): schedules with a dynamic shift have more steps at high noise for
    larger clips.
    Raises FamilyError for a scheduler that is not known here.
    """
    name = str(scheduler_config.get("_class_name"))
    if name not in _SCHEDULES:
        raise FamilyError(f"The scheduler {name} is not supported: use one of {', '.join(sorted(_SCHEDULES))}.")
    return _SCHEDULES[name](scheduler_config, num_steps, num_tokens)


def num_tokens(latents: Tensor, extras: Mapping[str, Any] | None = None) -> int:
    """Tokens that the network sees: t*h*w of `latents[B,C,t,h,w]`, and h*w for each picture that is given as further
    tokens (`extras["pictures"]`, see `Conditioning`), which LTX-2's pipeline counts too."""
    pictures = (extras or {}).get("pictures")
    _, _, t, h, w = latents.shape
    return (t + (0 if pictures is None else pictures.shape[2])) * h * w


def flow_timesteps(scheduler_config: Mapping[str, Any], sigma: Tensor) -> Tensor:
    """The timesteps, float32, under which the pipeline of a flow model tells its network the levels `sigma`.

    FlowMatchEuler: 1000 sigma. UniPC rounds that down to an integer, so that its first level 0.999999 is 999.
    """
    timesteps = sigma.float() * scheduler_config.get("num_train_timesteps", 1000)
    return timesteps.floor() if scheduler_config.get("_class_name") == "UniPCMultistepScheduler" else timesteps


def training_sigmas(scheduler_config: Mapping[str, Any]) -> Tensor:
    """`sigma` float64 of each training timestep of a model that does not predict a flow, rising."""
    return (1 - _diffusers(scheduler_config).alphas_cumprod.double()).clamp(min=0).sqrt()


def nearest_timesteps(table: Tensor, sigma: Tensor) -> Tensor:
    """The timesteps `int64[B]` whose levels in `training_sigmas` are nearest to `sigma[B]`."""
    above = torch.searchsorted(table, sigma.double().contiguous()).clamp(1, len(table) - 1)
    nearer_below = sigma - table[above - 1] < table[above] - sigma
    return above - nearer_below.long()


def shift_mu(num_tokens: int, config: Mapping[str, Any]) -> float:
    """How far the schedule moves towards noise: a straight line through two (tokens, shift) points of the config."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (top - base) / (high - low)
    return float(num_tokens * slope + (base - slope * low))


def _diffusers(config: Mapping[str, Any]) -> Any:
    """The scheduler of a config; settings that its class does not know (left by an overlaid one) are passed over."""
    import diffusers

    scheduler_class = getattr(diffusers, DIFFUSERS_CLASS.get(config["_class_name"], config["_class_name"]))
    known = inspect.signature(scheduler_class.__init__).parameters
    return scheduler_class.from_config({key: value for key, value in config.items() if key in known})


def _flow_match_euler(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """float32, shifted; over the even grid 1 .. 1/K that most pipelines ask for, or another that `_grid` names."""
    if num_steps == 1:  # any shift leaves 1 where it is, and one level cannot be stretched to a terminal one: 0 / 0
        return torch.tensor([1.0, 0.0])
    scheduler, grid = _diffusers(config), _GRIDS[config.get("_grid", "even")]
    asked = {"num_inference_steps": num_steps} if grid is None else {"sigmas": grid(num_steps)}
    scheduler.set_timesteps(**asked, mu=shift_mu(num_tokens, config))
    return scheduler.sigmas


def _linear_quadratic(num_steps: int) -> np.ndarray:
    """LTXConditionPipeline's grid: small even steps at first, then larger and larger ones."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

    return np.asarray(linear_quadratic_schedule(num_steps).numpy())


# How the levels are asked for before the scheduler shifts them; "own": as the scheduler spaces them.
_GRIDS: dict[str, Callable[[int], np.ndarray] | None] = {
    "even": lambda num_steps: np.linspace(1.0, 1 / num_steps, num_steps),
    "linear_quadratic": _linear_quadratic,
    "own": None,
}


def _flow_unipc(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """float32; the shifted levels of Wan's own scheduler. Raises FamilyError when it is not set up for a flow."""
    if not config.get("use_flow_sigmas"):
        raise FamilyError(
            "A UniPC scheduler without use_flow_sigmas is not supported: set it in the preset's scheduler."
        )
    scheduler = _diffusers(config)
    scheduler.set_timesteps(num_steps)
    return scheduler.sigmas


def _ddim(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> Tensor:
    """float64, so that abar = 1 - sigma^2 comes back without loss."""
    scheduler = _diffusers(config)
    scheduler.set_timesteps(num_steps)
    final = torch.as_tensor(scheduler.final_alpha_cumprod).reshape(1).to(scheduler.alphas_cumprod)
    # With as many steps as the table has, an offset points one past its end, where there is no more noise to name.
    timesteps = scheduler.timesteps.clamp(max=len(scheduler.alphas_cumprod) - 1)
    abar = torch.cat([scheduler.alphas_cumprod[timesteps], final])
    return (1 - abar.double()).clamp(min=0).sqrt()


# A solver of diffusers that shares another's levels: the one whose levels are read.
DIFFUSERS_CLASS = {"CogVideoXDPMScheduler": "CogVideoXDDIMScheduler"}

_SCHEDULES: dict[str, Callable[[Mapping[str, Any], int, int], Tensor]] = {
    "FlowMatchEulerDiscreteScheduler": _flow_match_euler,
    "UniPCMultistepScheduler": _flow_unipc,
    "DDIMScheduler": _ddim,
    "CogVideoXDDIMScheduler": _ddim,
    "CogVideoXDPMScheduler": _ddim,
}
