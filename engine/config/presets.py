"""Presets on disk: find, read, override with the user's files, save.

A preset is `presets/<kind>/<key>.toml`. Files of the same name in the workspace's `saved/`, and then in the folder
DAILIES_PRESETS, override the keys that they set (tables key by key). Other files there are additional presets. Imports
no torch.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import ValidationError

from engine.config.curriculum_preset import CurriculumPreset
from engine.config.form_settings import check_settings
from engine.config.schema import ModelPreset, TrainPreset
from engine.errors import ConfigError, StoreError
from engine.families.registry import FAMILIES, family_spec
from engine.files.atomic import write_text_atomic
from engine.files.text_files import text_of, toml_table
from engine.package_data import PRESETS
from engine.suggestions import validation_message
from engine.workspace import Workspace, is_name
from rewards.errors import did_you_mean
from rewards.external.declaration import read_declaration
from rewards.external.folders import use_folders
from rewards.mix import Mix, read_mix
from rewards.text_files import parse_toml

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # of TOML: needs no quotes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
NAMED = ("rewards", "external_rewards")  # the other kinds have a pattern of their own
KINDS = {
    "models": "model",
    "rewards": "mix",
    "external_rewards": "reward",
    "train": "preset",
    "curricula": "curriculum",
}


def preset_folders(kind: str) -> list[Path]:
    """Return the folders of presets of a kind, the shipped one first.

    Raises ConfigError for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"There are no presets of kind '{kind}'. {did_you_mean(kind, KINDS)}")
    return folders_of(kind)


def folders_of(kind: str) -> list[Path]:
    """Return the folders of any kind of user file, the shipped one first: also those of prompts."""
    users = os.environ.get("DAILIES_PRESETS")
    saved = Workspace.from_env().saved
    return [PRESETS / kind, saved / kind, *([Path(users).expanduser() / kind] if users else [])]


use_folders(lambda: folders_of("external_rewards"))


def preset_files(kind: str, key: str) -> list[Path]:
    """Return the files of a preset, the shipped one first.

    Raises ConfigError, with a suggestion, if there is none.
    """
    files = [folder / f"{key}.toml" for folder in preset_folders(kind)] if is_name(key) else []
    existing = [file for file in files if file.is_file()]
    if not existing:
        raise ConfigError(
            f"Unknown preset '{key[:80]}' in presets/{kind}. {did_you_mean(key, preset_keys(kind))}".rstrip()
        )
    return existing


def preset_keys(kind: str) -> list[str]:
    """Return the keys of all presets of a kind, sorted."""
    return sorted({file.stem for folder in preset_folders(kind) for file in folder.glob("*.toml")})


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` overridden by the keys of `above`; tables in both are merged recursively."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = overlay(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def preset_table(kind: str, key: str) -> dict[str, Any]:
    """Return a preset as a plain table, overridden but not validated."""
    table: dict[str, Any] = {}
    for file in preset_files(kind, key):
        table = overlay(table, toml_table(file))
    return table


def load_model_preset(key: str) -> ModelPreset:
    """Return a validated model preset. Raises ConfigError: unknown preset, key or family, or a bad value."""
    files = preset_files("models", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    try:
        preset = ModelPreset(**{"key": key, **preset_table("models", key)})
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, ModelPreset.model_fields)) from error
    if preset.key != key:
        raise ConfigError(f"{where} has key = '{preset.key}': the key must be the file's name, '{key}'.")
    if preset.family not in FAMILIES:
        raise ConfigError(f"{where}: unknown family '{preset.family}'. {did_you_mean(preset.family, FAMILIES)}")
    spec = family_spec(preset.family)
    if preset.context_frames and not spec.has_free_noise:
        raise ConfigError(f"{where}: {spec.title} has no FreeNoise, so leave out context_frames.")
    return preset


def load_train_preset(key: str, changes: Mapping[str, Any] | None = None) -> TrainPreset:
    """Return a validated training preset, overridden by `changes`.

    Raises ConfigError: unknown preset or key, or a bad value.
    """
    files = preset_files("train", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    return _validated({"key": key, **overlay(preset_table("train", key), changes or {})}, where)


def _validated(fields: Mapping[str, Any], where: str) -> TrainPreset:
    """Validate the fields and settings of a training preset. Raises ConfigError."""
    try:
        preset = TrainPreset(**fields)
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, TrainPreset.model_fields)) from error
    check_settings(preset.algorithm, preset.settings)
    return preset


def load_curriculum(key: str) -> CurriculumPreset:
    """Return a validated curriculum. Raises ConfigError: unknown preset or key, or a bad value."""
    files = preset_files("curricula", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    try:
        preset = CurriculumPreset(**{"key": key, **preset_table("curricula", key)})
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, CurriculumPreset.model_fields)) from error
    for stage in preset.stages:
        trained = overlay(preset_table("train", stage.preset), {**stage.changes, "settings": stage.settings})
        check_settings(str(trained.get("algorithm")), trained.get("settings", {}))
    return preset


def save_train_preset(workspace: Workspace, preset: TrainPreset) -> Path:
    """Save a complete training preset in the workspace. Saving an identical preset again changes nothing.

    Raises ConfigError for a name in use or a text that TOML cannot represent, StoreError when it cannot be written.
    """
    table = preset.model_dump(mode="json", exclude_defaults=True, exclude={"key"})
    path = workspace.saved / "train" / f"{preset.key}.toml"
    if path.is_file() and text_of(path) == to_toml(table):
        return path
    return write_preset(path.parent, preset.key, table)


def write_preset(folder: Path, key: str, table: Mapping[str, Any], comments: Iterable[str] = ()) -> Path:
    """Write a new preset into `folder`, one of the `preset_folders` of its kind, and return its file.

    `comments` are lines above the table. Raises ConfigError for a key that is invalid or in use, or a table that TOML
    cannot represent; StoreError when the file cannot be written.
    """
    what, path = f"{KINDS[folder.name]} '{key}'", folder / f"{key}.toml"
    text = "".join(f"# {line}\n" for line in comments) + to_toml(table)
    try:
        check_new_key(folder, key)
        parse_toml(text)
        write_text_atomic(path, text, new=True)
    except FileExistsError as error:
        raise ConfigError(_taken(folder, key)) from error
    except OSError as error:
        raise StoreError(f"The {what} cannot be written to {folder}: {error.strerror or error}.") from error
    except ValueError as error:  # such as a list of tables
        raise ConfigError(f"The {what} cannot be written as TOML: {error}.") from error
    return path


def check_new_key(folder: Path, key: str) -> None:
    """Raise ConfigError for a key that a preset of `folder`'s kind has, or an invalid one."""
    if not is_name(key) or (folder.name in NAMED and not NAME.fullmatch(key)):
        name = f"name of a {KINDS[folder.name]}"
        raise ConfigError(f"The {name} may have up to 200 letters, digits, _ and -, but got {key[:40]!r}.")
    if key in preset_keys(folder.name) or (folder / f"{key}.toml").exists():
        raise ConfigError(_taken(folder, key))


def _taken(folder: Path, key: str) -> str:
    return f"A {KINDS[folder.name]} named '{key}' exists already: choose another name."


def save_reweighted(workspace: Workspace, base: Mix, title: str, weights: Mapping[str, float]) -> Mix:
    """Save `base` with other weights as a mix of the workspace, and return it.

    The key is made from the title. Raises ConfigError for a title without a letter or digit, a name in use, or invalid
    weights.
    """
    key = "_".join(re.findall(r"[a-z0-9]+", title.lower()))
    if not key:
        raise ConfigError(f"The name of a mix needs a letter from a to z or a digit, but got {title[:40]!r}.")
    table = base.model_dump(exclude={"key"}) | {"title": title, "weights": dict(weights)}
    table["description"] = f"The weights of {base.title} changed."
    try:
        mix = Mix(**{"key": key, **table})
    except ValidationError as error:
        raise ConfigError(validation_message(error, f"The mix '{title}'", Mix.model_fields)) from error
    write_preset(workspace.saved / "rewards", key, table)
    return mix


def to_toml(table: Mapping[str, Any], name: str = "") -> str:
    """Convert a table of strings, numbers, booleans, lists and tables to TOML."""
    own = [f"{_toml_key(key)} = {toml_value(value)}" for key, value in table.items() if _is_plain(value)]
    lines = [f"[{name}]", *own] if name else own
    below = [
        to_toml(value, f"{name}.{_toml_key(key)}".lstrip("."))
        for key, value in table.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join(["\n".join(lines) + "\n", *below])


def toml_value(value: Any) -> str:
    """Return a value other than a table in TOML: as in JSON, except that U+007F is escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else toml_value(key)


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def change_preset(preset: TrainPreset, changes: Mapping[str, Any]) -> TrainPreset:
    """Return a training preset overridden by `changes`. Raises ConfigError: an unknown key or a bad value."""
    return _validated(overlay(preset.model_dump(mode="json"), changes), f"The preset '{preset.key}'")


@overload
def load_preset(kind: Literal["models"], key: str) -> ModelPreset: ...
@overload
def load_preset(kind: Literal["train"], key: str) -> TrainPreset: ...
@overload
def load_preset(kind: Literal["rewards"], key: str) -> "Mix": ...
@overload
def load_preset(kind: str, key: str) -> Any: ...


def load_preset(kind: str, key: str) -> Any:
    """Return a preset by kind and key.

    Its class is `ModelPreset`, `TrainPreset`, `CurriculumPreset`, `rewards.mix.Mix`, or `ExternalReward` of
    `rewards.external.declaration`. A mix in a user's file replaces the shipped one as a whole: weights merged from two
    files would be neither mix.
    """
    if kind == "models":
        return load_model_preset(key)
    if kind == "train":
        return load_train_preset(key)
    if kind == "curricula":
        return load_curriculum(key)
    if kind == "rewards":
        return read_mix(preset_files(kind, key)[-1])
    return read_declaration(preset_files(kind, key)[-1])  # ConfigError for an unknown kind
