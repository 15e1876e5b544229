"""A training preset on this machine: its model, its data, and settings that do not fit each other."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from app.context import AppContext
from app.text import models as text_models
from app.text import training as text
from engine.config.data_sets import find_clips
from engine.config.form_settings import defaults_of
from engine.config.model_availability import model_state
from engine.config.presets import load_model_preset
from engine.config.prompts import HUB, read_rows
from engine.config.schema import TrainPreset
from engine.generation.validation import shape_problems
from engine.labelling.campaigns import Campaigns
from engine.labelling.preference_pairs import tally_pairs
from engine.labelling.run_dataset import freeze_pairs

SHAPE = ("num_frames", "width", "height")
Fact = dict[str, Any]


def values_of(preset: TrainPreset) -> dict[str, Any]:
    """Return all settings of a preset, with the trainer's defaults."""
    return {**defaults_of(preset.algorithm), **preset.settings}


def mistakes(preset: TrainPreset) -> dict[str, str]:
    """Return a sentence for each setting that does not fit the model or another setting."""
    values = values_of(preset)
    shape = {name: values[name] for name in SHAPE if values.get(name) is not None}
    found = shape_problems(load_model_preset(preset.model), shape)
    group, clips = values.get("num_generations"), clips_per_rollout(values)
    if group and clips % group:
        found["num_generations"] = text.not_a_divisor(group, clips)
    return found


def per_update(values: Mapping[str, Any]) -> int:
    """Return the clips, or pairs, of an update on one device."""
    return int(values["per_device_train_batch_size"]) * int(values["gradient_accumulation_steps"])


def clips_per_rollout(values: Mapping[str, Any]) -> int:
    return int(values.get("generation_batch_size") or per_update(values))


def model_fact(preset: TrainPreset) -> Fact:
    """Return the preset's model, and whether it is installed."""
    model = load_model_preset(preset.model)
    state = model_state(model)
    ready = state.status == "installed"
    line = (
        text_models.STATES[state.status]
        if ready or not model.download_gb
        else text_models.to_download(model.download_gb)
    )
    return {"ok": ready, "line": f"{model.title}: {line}"}


def data_fact(context: AppContext, preset: TrainPreset) -> Fact:
    """Return the size of the preset's data in clips or pairs, updates and epochs.

    Raises ConfigError for data that cannot be read.
    """
    values = values_of(preset)
    if preset.campaign is not None:
        return _campaign_fact(context, preset, per_update(values))
    if preset.pairs is not None:
        is_there = find_clips(preset.pairs).exists()
        return {"ok": is_there, "line": preset.pairs if is_there else text.no_data(preset.pairs)}
    if str(preset.prompts).startswith(HUB):
        return {"ok": True, "line": str(preset.prompts)}
    prompts = len(read_rows(str(preset.prompts)))
    if "num_generations" not in values:
        return {"ok": True, "line": text.prompts(prompts)}
    return _rollout_fact(prompts, values)


def _campaign_fact(context: AppContext, preset: TrainPreset, batch: int) -> Fact:
    frozen = freeze_pairs(context.store, preset)
    assert frozen is not None, "the preset names a campaign"
    from_votes = Campaigns(context.store).votes(str(preset.campaign))
    judged, pairs = len(tally_pairs(from_votes)), len(frozen.pairs)
    line = text.pairs(pairs, judged, len(from_votes), batch, ceil(pairs / batch))
    return {"ok": True, "line": line}


def _rollout_fact(prompts: int, values: Mapping[str, Any]) -> Fact:
    """Describe prompts and clips of an update; a rollout takes different prompts."""
    clips, group, rollout = per_update(values), int(values["num_generations"]), clips_per_rollout(values)
    taken = max(1, rollout // group)
    updates = prompts // taken * max(1, rollout // clips) * int(values["num_iterations"])
    if taken > prompts:
        return {"ok": False, "line": text.few_prompts(prompts, taken)}
    return {"ok": True, "line": text.rollout(prompts, clips, group, updates)}
