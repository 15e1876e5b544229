"""Validation of a preset's overrides of a model's `scheduler_config.json`.

Dailies reads noise levels and timesteps from a scheduler but computes the steps itself, so a setting of diffusers'
solver, such as UniPC's `solver_order`, has no effect. The same holds for a setting that another one disables, such as
`shift` under `use_dynamic_shifting`. Both are rejected, like settings that the scheduler's class does not have.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError
from engine.family_interface import Prediction
from engine.sampling.schedules import DIFFUSERS_CLASS, flow_timesteps, sigmas_for
from rewards.errors import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

_SPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "num_train_timesteps", "shift_terminal")
_TABLE = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "num_train_timesteps", "rescale_betas_zero_snr")
_SPACING = ("timestep_spacing", "steps_offset", "set_alpha_to_one")
_SHIFTS = ("shift", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
_COGVIDEOX = (*_TABLE, *_SPACING, "snr_shift_scale")

EFFECTIVE: Mapping[str, tuple[str, ...]] = {
    "FlowMatchEulerDiscreteScheduler": (*_SHIFTS, "time_shift_type", *_SPACED),
    "UniPCMultistepScheduler": ("flow_shift", "use_flow_sigmas", "final_sigmas_type", *_SPACED),
    "DPMSolverMultistepScheduler": ("flow_shift", "use_flow_sigmas", "num_train_timesteps"),
    "DDIMScheduler": (*_TABLE, *_SPACING),
    "CogVideoXDDIMScheduler": _COGVIDEOX,
    "CogVideoXDPMScheduler": _COGVIDEOX,
}
"""Settings of each scheduler that affect its noise levels."""

UNUSED_FEATURES: Mapping[str, Any] = dict.fromkeys(
    ("clip_sample", "thresholding", "stochastic_sampling", "invert_sigmas"), False
)
"""Features that Dailies never uses; a preset may set them to false explicitly."""

COMPARED_SHAPES = ((10, 100), (10, 6000))
"""Numbers of steps and tokens for which the levels with and without a setting are compared."""


def check_settings(config: Mapping[str, Any], overrides: Mapping[str, Any], prediction_type: Prediction) -> None:
    """Raise FamilyError for an override that does not exist, has no effect, or has an unusable value.

    `config` is the model's own configuration, `prediction_type` its network's. An override that repeats the effective
    value is accepted, and so is one that states what Dailies does in any case (`clip_sample = false`).
    """
    if not overrides:
        return
    merged = {**config, **overrides}
    levels = _levels(merged)
    name = str(merged["_class_name"])
    defaults = _defaults(name)
    fixed = {**UNUSED_FEATURES, "prediction_type": "flow_prediction" if prediction_type == "flow" else prediction_type}
    for key, value in overrides.items():
        if key == "_class_name":
            continue
        if key not in defaults:
            suggestion = did_you_mean(key, EFFECTIVE[name])
            hint = f" {suggestion}" if suggestion.startswith("Did") else ""
            raise FamilyError(f"The preset's scheduler setting '{key}' is unknown to {name}.{hint} {_effective(name)}")
        without_override = config.get(key, defaults[key])
        if value in (without_override, fixed.get(key, without_override)):
            continue
        if key not in EFFECTIVE[name]:
            raise FamilyError(
                f"The preset's scheduler setting '{key}' has no effect, since Dailies takes only the noise levels from "
                f"{name} and computes the steps itself: leave it out. {_effective(name)}"
            )
        remaining = {name_: set_to for name_, set_to in merged.items() if name_ != key}
        remaining |= {key: config[key]} if key in config else {}
        if _same(levels, _levels(remaining)):
            raise FamilyError(
                f"The preset's scheduler setting {key} = {value!r} has no effect on {name} with its other settings: "
                f"leave it out, or change the setting that overrides it. {_effective(name)}"
            )


def _effective(name: str) -> str:
    return f"Settings that may have an effect: {', '.join(sorted(EFFECTIVE[name]))}."


def _defaults(name: str) -> dict[str, Any]:
    """Return the settings of a scheduler's class with their defaults."""
    import diffusers

    parameters = inspect.signature(getattr(diffusers, DIFFUSERS_CLASS.get(name, name)).__init__).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "self"}


def _levels(config: Mapping[str, Any]) -> "list[Tensor]":
    """Return levels and timesteps for `COMPARED_SHAPES`.

    Raise FamilyError for values that the scheduler cannot use.
    """
    try:
        levels = [sigmas_for(config, *shape) for shape in COMPARED_SHAPES]
    except (ValueError, TypeError, NotImplementedError, ImportError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"The preset's scheduler settings cannot be used by {config.get('_class_name')} ({reason}): correct them."
        ) from error
    return [tensor for sigmas in levels for tensor in (sigmas, flow_timesteps(config, sigmas))]


def _same(left: "list[Tensor]", right: "list[Tensor]") -> bool:
    return all(a.equal(b) for a, b in zip(left, right, strict=True))
