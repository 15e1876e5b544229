"""A training preset with all settings that an estimate of its run needs. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.form_settings import defaults_of
from engine.config.presets import load_preset
from engine.config.schema import REQUEST_FIELDS, ModelPreset, NetworkShape, TrainPreset
from engine.estimation.clip_estimate import rows_per_clip
from engine.estimation.memory import tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A preset with all settings that the estimate needs."""

    preset: TrainPreset
    model: ModelPreset
    shape: NetworkShape
    values: Mapping[str, Any]

    @property
    def rows_per_clip(self) -> int:
        """Network rows of one prediction, 2 with guidance."""
        return rows_per_clip(self.model, self.values["guidance"])

    @property
    def batch(self) -> int:
        """Clips, or pairs, that one device trains on at once."""
        return int(self.values["per_device_train_batch_size"])

    @property
    def clips_per_update(self) -> int:
        """Clips, or pairs, per update on one device."""
        return max(1, int(self.values["per_device_train_batch_size"] * self.values["gradient_accumulation_steps"]))

    @property
    def tokens(self) -> int:
        """Tokens of one clip."""
        frames, width, height = (int(self.values[name]) for name in ("num_frames", "width", "height"))
        return tokens_of(self.shape, frames, width, height)

    @property
    def steps(self) -> int | None:
        """Number of updates; None if the preset gives its length in epochs."""
        steps = int(self.values["max_steps"])
        return steps if steps > 0 else None


def plan(preset: TrainPreset) -> RunPlan | None:
    """Complete a preset; None if the size of its model is unknown.

    Raises ConfigError for an unknown model.
    """
    model = load_preset("models", preset.model)
    if model.network is None:
        return None
    values = {**defaults_of(preset.algorithm), **preset.settings}
    of_model = {name: getattr(model, name) for name in REQUEST_FIELDS if values.get(name) is None}
    return RunPlan(preset=preset, model=model, shape=model.network, values={**values, **of_model})
