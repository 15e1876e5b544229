"""Choices of models, reward mixes and other presets, by title."""

from app.text import general
from engine.config.model_availability import model_state, why_unavailable
from engine.config.presets import load_preset, preset_keys
from engine.errors import DailiesError
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
        if not why_unavailable(preset):
            groups[usable].append((title, key))
        else:
            is_incompatible = model_state(preset).status == "incompatible"
            groups[others].append((general.unusable(title) if is_incompatible else general.not_installed(title), key))
    return groups


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
