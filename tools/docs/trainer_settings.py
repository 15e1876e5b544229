"""The page's copy of the trainers' settings: `python -m tools.docs.trainer_settings` writes it.

The page imports no torch, but the config classes do. So names, types, defaults and help of every setting that is used
for video are stored in `engine/config/form_settings.json`. A test compares that file with the classes.
"""

import dataclasses
import enum
import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from engine.config.algorithms import ALGORITHMS
from engine.config.form_settings import FILE, FormSetting, Kind
from engine.config.setting_ranges import RANGES
from engine.training import clip_settings, prompt_settings, trainer_settings, video_arguments
from rewards.import_object import import_object
from tools.docs.setting_texts import HELP, LABELS, OF_CLASS

GROUPS: dict[str, tuple[str, ...]] = {
    "clip": ("num_frames", "width", "height", "fps", "num_steps", "guidance"),
    "length": ("max_steps", "num_train_epochs", "seed"),
    "batch": (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_generations",
        "rollout_batch",
        "generation_batch_size",
        "num_iterations",
        "dataloader_num_workers",
    ),
    "optimiser": (
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "optim",
        "weight_decay",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
    ),
    "weights": (
        "lora_rank",
        "lora_alpha",
        "lora_targets",
        "frozen_adapter",
        "frozen_scale",
        "ema_decay",
        "gradient_checkpointing",
    ),
    "algorithm": ("beta", "epsilon", "epsilon_high", "loss_type", "label_smoothing", "multi_objective_aggregation"),
    "samples": ("sample_clips", "sample_every", "sample_steps"),
    "keeping": ("save_steps", "save_total_limit", "logging_steps"),
}
"""Settings of libraries by topic, in the order of the form. Our own settings that are not listed come into "algorithm".
Library settings that are not listed concern tokens or hubs, or are set by Dailies."""
FRONT = (
    "max_steps",
    "learning_rate",
    "num_frames",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "beta",
    "lora_rank",
)
UNREAD = {
    "VideoGRPOConfig": ("loss_type",),
    "VideoNFTConfig": ("loss_type", "epsilon", "epsilon_high"),
    "VideoAWMConfig": ("loss_type", "epsilon_high"),
}
"""Fields of GROUPS that a class has but its trainer does not read."""
CHOICES: dict[tuple[str, str], tuple[str, ...]] = {("VideoDPOConfig", "loss_type"): ("sigmoid", "ipo", "hinge", "sft")}
UNITS: dict[str, tuple[str, ...]] = {
    "px": ("width", "height"),
    "fps": ("fps",),
    "frames": ("num_frames",),
    "steps": ("num_steps", "sample_steps", "student_steps", "window", "backprop_steps"),
    "updates": (
        "max_steps",
        "warmup_steps",
        "save_steps",
        "logging_steps",
        "sample_every",
        "steps_per_rollout",
        "old_decay_flat",
    ),
    "clips": (
        "per_device_train_batch_size",
        "num_generations",
        "rollout_batch",
        "generation_batch_size",
        "sample_clips",
        "rollout_clips",
    ),
    "batches": ("gradient_accumulation_steps",),
    "epochs": ("num_train_epochs",),
    "iterations": ("window_every",),
    "checkpoints": ("save_total_limit",),
}
PAIRED = {("VideoDPOConfig", "per_device_train_batch_size"): "pairs"}
OWN = tuple(module.__name__ for module in (trainer_settings, clip_settings, prompt_settings, video_arguments))


def described(config_class: Any) -> list[FormSetting]:
    """Return the settings of one config class, in the form's order."""
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}
    hints = typing.get_type_hints(config_class)
    return [_setting(config_class, fields[name], hints[name], group) for name, group in _listed(config_class, fields)]


def _listed(config_class: Any, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    listed = {name for names in GROUPS.values() for name in names}
    ours = [name for name in fields if name not in listed and _is_ours(config_class, name)]
    shown = fields.keys() - set(UNREAD.get(config_class.__name__, ()))
    for group, names in GROUPS.items():
        members = [*names, *(ours if group == "algorithm" else [])]
        yield from ((name, group) for name in members if name in shown)


def _is_ours(config_class: Any, name: str) -> bool:
    """Return True if no library has a field of this name."""
    return all(cls.__module__ in OWN for cls in config_class.__mro__ if name in inspect.get_annotations(cls))


def _setting(config_class: Any, field: Any, hint: Any, group: str) -> FormSetting:
    kind, choices, optional = _kind(hint)
    if own := CHOICES.get((config_class.__name__, field.name)):
        kind, choices = "choice", own
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    if isinstance(default, list) and len(default) == 1:
        default = default[0]  # one loss is a list of one
    return FormSetting(
        name=field.name,
        label=LABELS.get(field.name, field.name.replace("_", " ").capitalize()),
        group=group,
        kind=kind,
        choices=choices,
        optional=optional,
        default=default.value if isinstance(default, enum.Enum) else default,
        default_of=_default_owner(config_class, field.name),
        help=" ".join(_help(config_class, field).split()),
        unit=_unit(config_class, field.name),
        front=field.name in FRONT,
        range=RANGES.get(field.name) if kind in ("int", "float") else None,
    )


def _unit(config_class: Any, name: str) -> str:
    units = (unit for unit, names in UNITS.items() if name in names)
    return PAIRED.get((config_class.__name__, name)) or next(units, "")


def _help(config_class: Any, field: Any) -> str:
    """Return our help for the field, or that of the class that defines it."""
    if own := OF_CLASS.get((config_class.__name__, field.name)) or HELP.get(field.name):
        return own
    for cls in config_class.__mro__:
        definition = cls.__dict__.get("__dataclass_fields__", {}).get(field.name)
        if definition is not None and definition.metadata.get("help"):
            return str(definition.metadata["help"])
    return ""


def _default_owner(config_class: Any, name: str) -> str:
    """Return the package of the first class that defines the field."""
    owner = next(cls for cls in config_class.__mro__ if name in inspect.get_annotations(cls))
    package = owner.__module__.partition(".")[0]
    return {"engine": "Dailies", "trl": "TRL"}.get(package, package)


def _kind(hint: Any) -> tuple[Kind, tuple[str, ...], bool]:
    """Return the kind of input for a type, its choices, and whether it may be left empty (None)."""
    if typing.get_origin(hint) is Literal:
        return "choice", tuple(str(choice) for choice in typing.get_args(hint)), False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        enums: list[Any] = [part for part in parts if isinstance(part, enum.EnumType)]
        kind, choices, _ = _kind((enums or [part for part in parts if part is str] or parts)[0])
        return kind, choices, type(None) in typing.get_args(hint)
    if isinstance(hint, enum.EnumType):
        members: list[Any] = list(hint)
        return "choice", tuple(str(member.value) for member in members), False
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
    return kinds.get(hint, "text"), (), False


def stored_text() -> str:
    """Return the text of `form_settings.json`, one setting a line."""
    tables = {
        key: {one.name: one.model_dump(mode="json", exclude={"name"}, exclude_defaults=True) for one in settings}
        for key, algorithm in ALGORITHMS.items()
        for settings in [described(import_object(algorithm.settings))]
    }
    versions: dict[str, list[dict[str, Any]]] = {}
    for rows in tables.values():
        for name, row in rows.items():
            versions.setdefault(name, []).append(row)
    shared = {name: max(rows, key=rows.count) for name, rows in versions.items()}
    own = {key: _lines({n: _changes(shared[n], row) for n, row in rows.items()}) for key, rows in tables.items()}
    algorithms = ",\n".join(f"{json.dumps(key)}: {rows}" for key, rows in own.items())
    return f'{{"shared": {_lines(shared)},\n"algorithms": {{\n{algorithms}}}}}\n'


def _changes(shared: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return what turns the shared row into this one."""
    unset = {name: FormSetting.model_fields[name].default for name in shared.keys() - row.keys()}
    return {name: value for name, value in {**unset, **row}.items() if name in unset or shared.get(name) != value}


def _lines(rows: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(json.dumps({name: row}, ensure_ascii=False)[1:-1] for name, row in rows.items()) + "}"


def main() -> None:
    FILE.write_text(stored_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
