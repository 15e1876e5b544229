"""Networks that the rewards of a training preset need and this machine lacks.

Imports no torch."""

from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from rewards.weights.catalog import Weights
from rewards.weights.needed import missing_weights


def missing_networks(preset: TrainPreset) -> dict[str, Weights]:
    """Return the weights that the preset's mix needs and this machine lacks, by key.

    The rewards of `watch` are only measured, so a run starts without theirs. Raises ConfigError for an unknown mix.
    """
    return missing_weights(load_preset("rewards", preset.mix)) if preset.mix is not None else {}


def why_rewards_unavailable(preset: TrainPreset) -> str:
    """Return a sentence on the missing networks and the command to get them, or ""."""
    missing = missing_networks(preset)
    if not missing:
        return ""
    titles = ", ".join(f"{weights.title} ({weights.size_mb:g} MB)" for weights in missing.values())
    got = [key for key, weights in missing.items() if weights.source.downloadable]
    how = f"run `dailies weights get {' '.join(got)}`" if got else "see `dailies weights ls`"
    return f"The mix {preset.mix} needs networks that are not on this machine: {titles}. To get them, {how}."


def check_rewards(preset: TrainPreset) -> None:
    """Raise ConfigError when a network of the preset's rewards is not on this machine."""
    if reason := why_rewards_unavailable(preset):
        raise ConfigError(reason)
