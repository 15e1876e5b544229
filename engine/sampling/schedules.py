"""Noise schedules. A noise level `sigma` is the coefficient of noise in the latents:

    prediction   latents at sigma                          sigma runs
    flow         (1 - sigma) x0 + sigma eps                1 .. 0
    otherwise    sqrt(1 - sigma^2) x0 + sigma eps          sqrt(1 - abar) of the scheduler's table, .. 0

The values equal those of the model's own diffusers pipeline: its scheduler class computes them from its config. Here a
scheduler only provides levels, not a solver: flow models are stepped by Euler, all others by DDIM.

Clips differ from those of a pipeline with another solver. Against UniPC of order 2 (Wan's own), on random toy weights:
RMS 0.10 at 8 and 20 steps for latents of std 1.4. diffusers' DDIM ends a step at the timestep t - 1000 // num_steps,
which is not the next timestep under "linspace" spacing (AnimateDiff's documentation); here a step ends where the next
one begins. On random toy weights, 25 steps: RMS 1.9 for latents of std 14.8.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import FamilyError

if TYPE_CHECKING:
    from torch import Tensor


def sigmas_for(scheduler_config: Mapping[str, Any], num_steps: int, num_tokens: int) -> "Tensor":
    """Return the decreasing noise levels `sigmas[K+1]` for K = `num_steps`.

    `num_tokens` (see the function of this name) sets a dynamic shift, which spends more steps at high noise on larger
    clips. Raises FamilyError for an unsupported scheduler.
    """
    name = str(scheduler_config.get("_class_name"))
    if name not in _SCHEDULES:
        raise FamilyError(f"The scheduler {name} is not supported: use one of {', '.join(sorted(_SCHEDULES))}.")
    return _SCHEDULES[name](scheduler_config, num_steps, num_tokens)


def num_tokens(latents: "Tensor", extras: Mapping[str, Any] | None = None) -> int:
    """Return the number of tokens of a clip: t*h*w of `latents[B,C,t,h,w]`.

    Each picture that conditions the network as further tokens (`extras["pictures"]`, see `Conditioning`) adds h*w, as
    in LTX-2's pipeline.
    """
    pictures = (extras or {}).get("pictures")
    _, _, t, h, w = latents.shape
    return (t + (0 if pictures is None else pictures.shape[2])) * h * w


def flow_timesteps(scheduler_config: Mapping[str, Any], sigma: "Tensor") -> "Tensor":
    """Return the float32 timesteps that a flow model's pipeline passes to its network for `sigma`.

    FlowMatchEuler: 1000 sigma. The solvers round this down to an integer, so UniPC's first level 0.999999 becomes 999.
    """
    timesteps = sigma.float() * scheduler_config.get("num_train_timesteps", 1000)
    return timesteps.floor() if scheduler_config.get("_class_name") in SOLVERS else timesteps


def training_sigmas(scheduler_config: Mapping[str, Any]) -> "Tensor":
    """Return the increasing float64 noise levels of the training timesteps; not for flow models."""
    return (1 - _diffusers(scheduler_config).alphas_cumprod.double()).clamp(min=0).sqrt()


def nearest_timesteps(table: "Tensor", sigma: "Tensor") -> "Tensor":
    """Return the timesteps `int64[B]` with levels in `table` (`training_sigmas`) nearest to `sigma[B]`."""
    import torch

    above = torch.searchsorted(table, sigma.double().contiguous()).clamp(1, len(table) - 1)
    nearer_below = sigma - table[above - 1] < table[above] - sigma
    return above - nearer_below.long()


def shift_mu(num_tokens: int, config: Mapping[str, Any]) -> float:
    """Return the shift towards noise: linear in the number of tokens, through two points of the config."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (top - base) / (high - low)
    return float(num_tokens * slope + (base - slope * low))


def _diffusers(config: Mapping[str, Any]) -> Any:
    """Build the scheduler of a config, ignoring settings of another class that a preset has replaced."""
    import diffusers

    scheduler_class = getattr(diffusers, DIFFUSERS_CLASS.get(config["_class_name"], config["_class_name"]))
    parameters = inspect.signature(scheduler_class.__init__).parameters
    return scheduler_class.from_config({key: value for key, value in config.items() if key in parameters})


def _flow_match_euler(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> "Tensor":
    """Shifted levels, float32, over most pipelines' uniform grid 1 .. 1/K, or the grid that `_grid` names."""
    import torch

    if num_steps == 1:  # a shift maps 1 to 1, and stretching one level to a terminal one divides 0 by 0
        return torch.tensor([1.0, 0.0])
    scheduler, grid = _diffusers(config), _GRIDS[config.get("_grid", "even")]
    options = {"num_inference_steps": num_steps} if grid is None else {"sigmas": grid(num_steps)}
    scheduler.set_timesteps(**options, mu=shift_mu(num_tokens, config))
    return scheduler.sigmas


def _linear_quadratic(num_steps: int) -> np.ndarray:
    """Grid of LTXConditionPipeline: small equal steps first, then increasingly large ones."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

    return np.asarray(linear_quadratic_schedule(num_steps).numpy())


# Grids of levels before the scheduler shifts them; "own" is the scheduler's own spacing.
_GRIDS: dict[str, Callable[[int], np.ndarray] | None] = {
    "even": lambda num_steps: np.linspace(1.0, 1 / num_steps, num_steps),
    "linear_quadratic": _linear_quadratic,
    "own": None,
}


def _flow_solver(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> "Tensor":
    """Return the shifted levels of a multistep solver, float32.

    Raises FamilyError when it is not configured for a flow.
    """
    if not config.get("use_flow_sigmas"):
        raise FamilyError(
            f"A {SOLVERS[config['_class_name']]} scheduler without use_flow_sigmas is not supported: set it in the "
            "preset's scheduler."
        )
    scheduler = _diffusers(config)
    scheduler.set_timesteps(num_steps)
    return scheduler.sigmas


def _ddim(config: Mapping[str, Any], num_steps: int, num_tokens: int) -> "Tensor":
    """Levels of DDIM's timesteps, in float64 so that abar = 1 - sigma^2 is recovered exactly."""
    import torch

    scheduler = _diffusers(config)
    scheduler.set_timesteps(num_steps)
    final = torch.as_tensor(scheduler.final_alpha_cumprod).reshape(1).to(scheduler.alphas_cumprod)
    # With as many steps as the table has entries, an offset points one past its end.
    timesteps = scheduler.timesteps.clamp(max=len(scheduler.alphas_cumprod) - 1)
    abar = torch.cat([scheduler.alphas_cumprod[timesteps], final])
    return (1 - abar.double()).clamp(min=0).sqrt()


SOLVERS = {"UniPCMultistepScheduler": "UniPC", "DPMSolverMultistepScheduler": "DPM-Solver"}
"""Multistep solvers of flows, with their short names: Wan's and Sana-Video's."""

# Solvers that use the same levels as another class, which provides them.
DIFFUSERS_CLASS = {"CogVideoXDPMScheduler": "CogVideoXDDIMScheduler"}

_SCHEDULES: dict[str, Callable[[Mapping[str, Any], int, int], "Tensor"]] = {
    "FlowMatchEulerDiscreteScheduler": _flow_match_euler,
    **dict.fromkeys(SOLVERS, _flow_solver),
    "DDIMScheduler": _ddim,
    "CogVideoXDDIMScheduler": _ddim,
    "CogVideoXDPMScheduler": _ddim,
}
