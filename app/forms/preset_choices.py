"""Choices of models, reward mixes and other presets, by title."""

from functools import cache

from app.text import general
from app.text import models as text_models
from engine.config.model_availability import model_state, why_unavailable
from engine.config.presets import load_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import DailiesError
from engine.estimation.model_forecast import fit_generation
from engine.hardware.telemetry.monitor import device_gib
from engine.request import GenerationRequest

Choices = list[tuple[str, str]]


def preset_choices(kind: str) -> Choices:
    """Return the presets of a kind by title, without unreadable ones (see `dailies presets show`)."""
    choices: Choices = []
    for key in preset_keys(kind):
        try:
            choices.append((load_preset(kind, key).title, key))
        except DailiesError:
            continue
    return choices


def model_groups() -> dict[str, Choices]:
    """Return the models by title, in the groups of `general.MODEL_GROUPS`.

    The first group has those that can be used.

    The titles of the others say why they cannot be used yet.
    """
    usable, others = (group for group in general.MODEL_GROUPS)
    groups: dict[str, Choices] = {usable: [], others: []}
    for title, key in preset_choices("models"):
        preset = load_preset("models", key)
        if why_unavailable(preset):
            is_incompatible = model_state(preset).status == "incompatible"
            groups[others].append((general.unusable(title) if is_incompatible else general.not_installed(title), key))
        elif why_too_large(preset):
            groups[others].append((general.too_large(title), key))
        else:
            groups[usable].append((title, key))
    return groups


def why_unusable(preset: ModelPreset) -> str:
    """Return one sentence why this machine cannot generate with a model; "" if it can."""
    return why_unavailable(preset) or why_too_large(preset)


def why_too_large(preset: ModelPreset) -> str:
    """Return one sentence if a default clip of the model needs more memory than this machine has, else ""."""
    return _too_large(preset.model_dump_json())


@cache
def _too_large(preset_json: str) -> str:
    preset, here = ModelPreset.model_validate_json(preset_json), device_gib()
    fit = fit_generation(preset, here)
    return text_models.too_large(preset.title, fit.peak, here) if fit and not fit.fits else ""


def model_choices() -> Choices:
    """Return the models by title: those that can be used first."""
    return [choice for group in model_groups().values() for choice in group]


def default_choice(choices: Choices, key: str) -> str | None:
    """Return `key` if it is one of the choices, else the first choice."""
    keys = [choice for _, choice in choices]
    return key if key in keys else keys[0] if keys else None


def mix_choices() -> Choices:
    """Return the reward mixes, and "" for no scoring."""
    return [*preset_choices("rewards"), (general.NO_MIX, "")]


def default_mix(mixes: Choices) -> str | None:
    """Return the default mix for imported clips: that of the default model."""
    return default_choice(mixes, GenerationRequest.model_fields["model"].default)
