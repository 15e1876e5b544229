"""Which settings a preset may lay over a model's `scheduler_config.json`: those that change the noise levels.

Dailies takes levels and timesteps from a scheduler and steps by itself, so a setting of diffusers' solver, such as
UniPC's `solver_order`, has no effect. Neither has one that another setting switches off, such as `shift` under
`use_dynamic_shifting`. Both are refused, like a setting that the scheduler's class does not have.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from engine.errors import FamilyError
from engine.model_spec import Prediction
from engine.sampling.schedules import DIFFUSERS_CLASS, flow_timesteps, sigmas_for
from engine.suggestions import did_you_mean

_SPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "num_train_timesteps", "shift_terminal")
_TABLE = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "num_train_timesteps", "rescale_betas_zero_snr")
_SPACING = ("timestep_spacing", "steps_offset", "set_alpha_to_one")
_SHIFTS = ("shift", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
_COGVIDEOX = (*_TABLE, *_SPACING, "snr_shift_scale")

EFFECTIVE: Mapping[str, tuple[str, ...]] = {
    "FlowMatchEulerDiscreteScheduler": (*_SHIFTS, "time_shift_type", *_SPACED),
    "UniPCMultistepScheduler": ("flow_shift", "use_flow_sigmas", "final_sigmas_type", *_SPACED),
    "DDIMScheduler": (*_TABLE, *_SPACING),
    "CogVideoXDDIMScheduler": _COGVIDEOX,
    "CogVideoXDPMScheduler": _COGVIDEOX,
}
"""Settings of each scheduler on which its levels depend."""

NEVER_DONE: Mapping[str, Any] = dict.fromkeys(
    ("clip_sample", "thresholding", "stochastic_sampling", "invert_sigmas"), False
)
"""What Dailies does not do with any scheduler, so that a preset may say so."""

TRIED = ((10, 100), (10, 6000))
"""Steps and tokens for which the levels with and without a setting are compared."""


def check_settings(own: Mapping[str, Any], laid_over: Mapping[str, Any], of: Prediction) -> None:
    """Raises FamilyError for a setting in `merge_env` that does not exist or has no effect, or a value that is no good.

    `own` is the model's configuration, `of` what its network predicts. A setting that repeats the value that would hold
    anyway is accepted, and so is one that says what Dailies does in any case (`clip_sample = false`).
    """
    if not laid_over:
        return
    whole = {**own, **laid_over}
    levels = _levels(whole)
    name = str(whole["_class_name"])
    defaults = _defaults(name)
    always = {**NEVER_DONE, "prediction_type": "flow_prediction" if of == "flow" else of}
    for key, value in laid_over.items():
        if key == "_class_name":
            continue
        if key not in defaults:
            near = did_you_mean(key, EFFECTIVE[name])
            hint = f" {near}" if near.startswith("Did") else ""
            raise FamilyError(f"The preset's scheduler setting '{key}' is unknown to {name}.{hint} {_valid(name)}")
        otherwise = own.get(key, defaults[key])
        if value in (otherwise, always.get(key, otherwise)):
            continue
        if key not in EFFECTIVE[name]:
            raise FamilyError(
                f"The preset's scheduler setting '{key}' has no effect, since Dailies takes the noise levels of {name} "
                f"and steps by itself: leave it out. {_valid(name)}"
            )
        without = {**{other: set_to for other, set_to in whole.items() if other != key}, **_of(own, key)}
        if _same(levels, _levels(without)):
            raise FamilyError(
                f"The preset's scheduler setting {key} = {value!r} has no effect on {name} beside its other settings: "
                f"leave it out, or change the setting that overrules it. {_valid(name)}"
            )


def _valid(name: str) -> str:
    return f"Settings that may have an effect: {', '.join(sorted(EFFECTIVE[name]))}."


def _of(own: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: own[key]} if key in own else {}


def _defaults(name: str) -> dict[str, Any]:
    """The settings of a scheduler's class, each with its default."""
    import diffusers

    parameters = inspect.signature(getattr(diffusers, DIFFUSERS_CLASS.get(name, name)).__init__).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "self"}


def _levels(config: Mapping[str, Any]) -> list[torch.Tensor]:
    """Levels and timesteps for each of `TRIED`. Raises FamilyError for values that the scheduler cannot use."""
    try:
        levels = [sigmas_for(config, *tried) for tried in TRIED]
    except (ValueError, TypeError, NotImplementedError, ImportError, ArithmeticError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"The preset's scheduler settings cannot be used by {config.get('_class_name')} ({why}): correct them."
        ) from error
    return [told for sigmas in levels for told in (sigmas, flow_timesteps(config, sigmas))]


def _same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
