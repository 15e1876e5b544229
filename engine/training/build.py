"""From a resolved preset to a trainer that is ready to train."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from engine.config.algorithms import ALGORITHMS, Data
from engine.config.data_sets import find_clips
from engine.config.form_settings import check_settings
from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import DailiesError, SettingsError
from engine.hardware.device import pick_device
from engine.labelling.pair_tables import read_pairs
from engine.labelling.preference_formats import read_preference_data
from engine.runs.run import Run
from engine.runs.run_inputs import few_steps
from engine.training.data.clip_rows import rated_of_pairs, read_captioned, read_rated
from engine.training.data.prompt_rows import training_rows
from engine.training.reporting import name_run, reporting_tools
from engine.training.trainers.base import DiffusionTrainer
from rewards import as_reward_funcs, mix_reward_func
from rewards.errors import did_you_mean
from rewards.import_object import import_object

PLAIN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), NoneType: (NoneType,)}
"""Accepted types of a value, by the field's declared type."""


def build_trainer(preset: TrainPreset, run: Run, **others: Any) -> DiffusionTrainer:
    """Build the preset's trainer and load its model; raise ConfigError for unknown or unusable settings."""
    algorithm = ALGORITHMS[preset.algorithm]
    trainer_class, config_class = import_object(algorithm.trainer), import_object(algorithm.settings)
    check_settings(preset.algorithm, preset.settings)
    args = build_config(config_class, {"run_name": run.id, **preset.settings}, run.checkpoints)
    data = _data(preset, run, args)
    if preset.settings.get("reward_weights") is not None:
        raise SettingsError(
            "reward_weights are those of the mix: leave the setting out, and give the weights in a mix."
        )
    if preset.mix is not None and preset.rewards == "parts":
        args.reward_weights = [weight for weight in load_preset("rewards", preset.mix).weights.values() if weight > 0]
    start = run.start if run.start.is_dir() else None
    args.frozen_adapter = str(run.frozen) if run.frozen.is_dir() else None
    trainer: DiffusionTrainer = trainer_class(
        model=preset.model, args=args, start=start, workspace=run.workspace, **data, **others
    )
    trainer.is_few_step = few_steps(run, preset) is not None
    name_run(trainer, run)
    return trainer


def build_config(config_class: Any, settings: Mapping[str, Any], folder: Path) -> Any:
    """Build a trainer's config; raise SettingsError for an unknown setting or an invalid value."""
    known = {field.name for field in dataclasses.fields(config_class) if field.init}
    for name in settings:
        if name not in known:
            raise SettingsError(f"Unknown setting '{name}' for {config_class.__name__}. {did_you_mean(name, known)}")
    _check_types(config_class, settings)
    reporting_tools(settings.get("report_to"))

    ours = {"output_dir": str(folder), "report_to": "none", "disable_tqdm": True, "use_cpu": pick_device() == "cpu"}
    try:
        return config_class(**{**ours, **settings})
    except DailiesError as error:
        raise SettingsError(str(error)) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise SettingsError(f"The settings of {config_class.__name__} cannot work: {error}") from error


def _check_types(config_class: Any, settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for a value of the wrong type, which a dataclass would accept.

    Only fields of numbers and flags are checked; the class checks the others.
    """
    hints = get_type_hints(config_class)
    for name, value in settings.items():
        kinds = get_args(hints[name]) or (hints[name],)
        if not set(kinds) <= PLAIN.keys():
            continue
        fits = any(type(value) in PLAIN[kind] for kind in kinds)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            wanted = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
            raise SettingsError(f"{name} = {str(value)[:40]!r} is not valid: it must be of type {wanted}.")


def _data(preset: TrainPreset, run: Run, args: Any) -> dict[str, Any]:
    """Return the trainer's data: pairs from a file or the run's campaign, or prompts and rewards."""
    data = ALGORITHMS[preset.algorithm].data
    if preset.campaign is not None:
        pairs = read_pairs(run.pairs_file)
        return {"train_dataset": rated_of_pairs(pairs) if data == "ratings" else pairs}
    if preset.pairs is not None:
        return {"train_dataset": _clips(find_clips(preset.pairs), data, args)}
    rows = training_rows(run.rows(str(preset.prompts)))
    return {"train_dataset": rows} if preset.mix is None else {"train_dataset": rows, "reward_funcs": _rewards(preset)}


def _clips(path: Path, data: Data, args: Any) -> list[dict[str, Any]]:
    """Return the rows of a folder or file of clips."""
    if data == "captions":
        return read_captioned(path)
    if data == "ratings":
        return read_rated(path)
    return read_preference_data(path, chosen_alone=args.preference is None)


def _rewards(preset: TrainPreset) -> list[Any]:

    assert preset.mix is not None, "the schema asks for it"
    mix = load_preset("rewards", preset.mix)
    return as_reward_funcs(mix) if preset.rewards == "parts" else [mix_reward_func(mix)]
