"""Presets on disk: find, read, overlay with the user's own, save.

A preset is `presets/<kind>/<key>.toml`. The workspace's `saved/` is laid over the shipped one, and the folder that
DAILIES_PRESETS names over both: a file of the same name there changes the keys that it sets (tables key by key), any
other is a further preset. Imports no torch.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import BaseModel, ValidationError

from engine.config.curriculum_preset import CurriculumPreset
from engine.config.form_settings import check_settings
from engine.config.schema import ModelPreset, TrainPreset
from engine.errors import ConfigError, StoreError
from engine.families.registry import FAMILIES, family_spec
from engine.files.atomic import write_text_atomic
from engine.files.text_files import prompt_lines, toml_table
from engine.package_data import PRESETS
from engine.request import PROMPT_LIMIT
from engine.suggestions import did_you_mean, validation_message
from engine.workspace import Workspace

if TYPE_CHECKING:
    from rewards.mix import Mix

KINDS = ("models", "rewards", "train", "curricula")


def preset_folders(kind: str) -> list[Path]:
    """Where presets of a kind are looked for, the shipped folder first. Raises ConfigError for an unknown kind."""
    if kind not in KINDS:
        raise ConfigError(f"There are no presets of kind '{kind}'. {did_you_mean(kind, KINDS)}")
    return _folders(kind)


def _folders(kind: str) -> list[Path]:
    users = os.environ.get("DAILIES_PRESETS")
    saved = Workspace.from_env().saved
    return [PRESETS / kind, saved / kind, *([Path(users).expanduser() / kind] if users else [])]


def preset_files(kind: str, key: str) -> list[Path]:
    """The files that make up a preset, the shipped one first. Raises ConfigError when there is none (did you mean)."""
    files = [folder / f"{key}.toml" for folder in preset_folders(kind)]
    found = [file for file in files if file.is_file() and file.stem == key]  # a key is a name, never a path
    if not found:
        raise ConfigError(f"Unknown preset '{key}' in presets/{kind}. {did_you_mean(key, preset_keys(kind))}".rstrip())
    return found


def preset_keys(kind: str) -> list[str]:
    """The names of all presets of a kind, sorted."""
    return sorted({file.stem for folder in preset_folders(kind) for file in folder.glob("*.toml")})


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the keys of `above` laid over it; tables in both are laid over each other in turn."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = overlay(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def preset_table(kind: str, key: str) -> dict[str, Any]:
    """A preset as a plain table, overlaid and not yet checked."""
    table: dict[str, Any] = {}
    for file in preset_files(kind, key):
        table = overlay(table, toml_table(file))
    return table


def load_model_preset(key: str) -> ModelPreset:
    """A checked model preset. Raises ConfigError: unknown preset, unknown key, bad value, unknown family."""
    files = preset_files("models", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    try:
        preset = ModelPreset(**{"key": key, **preset_table("models", key)})
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, ModelPreset.model_fields)) from error
    if preset.key != key:
        raise ConfigError(f"{where} says key = '{preset.key}': the key must be the file's name, '{key}'.")
    if preset.family not in FAMILIES:
        raise ConfigError(f"{where}: unknown family '{preset.family}'. {did_you_mean(preset.family, FAMILIES)}")
    spec = family_spec(preset.family)
    if preset.context_frames and not spec.has_free_noise:
        raise ConfigError(f"{where}: {spec.title} has no FreeNoise, so leave out context_frames.")
    return preset


def load_train_preset(key: str, changes: Mapping[str, Any] | None = None) -> TrainPreset:
    """A checked training preset, with `changes` laid over it. Raises ConfigError: unknown preset, key or bad value."""
    files = preset_files("train", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    return _checked({"key": key, **overlay(preset_table("train", key), changes or {})}, where)


def _checked(fields: Mapping[str, Any], where: str) -> TrainPreset:
    """A training preset of these fields, its settings checked. Raises ConfigError."""
    try:
        preset = TrainPreset(**fields)
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, TrainPreset.model_fields)) from error
    check_settings(preset.algorithm, preset.settings)
    return preset


def load_curriculum(key: str) -> CurriculumPreset:
    """A checked curriculum. Raises ConfigError: unknown preset, key or recipe, or a bad value."""
    files = preset_files("curricula", key)
    where = f"{files[-1].parent.name}/{files[-1].name}"
    try:
        preset = CurriculumPreset(**{"key": key, **preset_table("curricula", key)})
    except ValidationError as error:
        raise ConfigError(validation_message(error, where, CurriculumPreset.model_fields)) from error
    for stage in preset.stages:
        recipe = overlay(preset_table("train", stage.recipe), {**stage.changes, "settings": stage.settings})
        check_settings(str(recipe.get("algorithm")), recipe.get("settings", {}))
    return preset


def save_train_preset(workspace: Workspace, preset: TrainPreset) -> Path:
    """Keep a training preset in the workspace, whole; the same one saved again stays as it is.

    Raises ConfigError: there is another one of this name, or a text that TOML cannot hold; StoreError.
    """
    path = workspace.saved / "train" / f"{preset.key}.toml"
    written = to_toml(preset.model_dump(mode="json", exclude_defaults=True, exclude={"key"}))
    try:
        tomllib.loads(written)
        if path.is_file() and path.read_bytes() == written.encode():
            return path
        if preset.key in preset_keys("train"):
            raise ConfigError(f"There is a recipe '{preset.key}' already: choose another name.")
        write_text_atomic(path, written)
    except OSError as error:
        raise StoreError(f"The recipe cannot be kept at {path}: {error.strerror or error}.") from error
    except ValueError as error:  # a control character, say
        raise ConfigError(f"The recipe '{preset.key}' cannot be written as TOML: {error}.") from error
    return path


def to_toml(table: Mapping[str, Any], name: str = "") -> str:
    """A table of texts, numbers, flags, lists of them and further tables, as TOML. JSON writes all but tables alike."""
    own = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items() if _is_plain(value)]
    lines = [f"[{name}]", *own] if name else own
    below = [to_toml(value, f"{name}.{key}".lstrip(".")) for key, value in table.items() if isinstance(value, Mapping)]
    return "\n".join(["\n".join(lines) + "\n", *below])


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def change_preset(preset: TrainPreset, changes: Mapping[str, Any]) -> TrainPreset:
    """A training preset with changes laid over it. Raises ConfigError: an unknown key or a bad value."""
    return _checked(overlay(preset.model_dump(mode="json"), changes), f"The recipe '{preset.key}'")


def prompt_sets() -> list[str]:
    """The names of the files of prompts, sorted."""
    return sorted({file.stem for folder in _folders("prompts") for file in folder.glob("*.txt")})


def read_prompts(name: str) -> list[str]:
    """The prompts of a file in `presets/prompts`, or of the file that `name` is the path of; `#` begins a comment.

    Raises ConfigError when there is no such file, no prompt in it, or one that is longer than a request may have.
    """
    folders = _folders("prompts")
    places = [*(folder / f"{name}.txt" for folder in reversed(folders)), Path(name)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ConfigError(f"There are no prompts '{name}'. {did_you_mean(name, prompt_sets())}".rstrip())
    prompts = []
    for number, prompt in prompt_lines(path):
        if len(prompt) > PROMPT_LIMIT:
            raise ConfigError(
                f"{path}, line {number}: a prompt has at most {PROMPT_LIMIT:,} characters, but this one has "
                f"{len(prompt):,}; shorten it."
            )
        prompts.append(prompt)
    if not prompts:
        raise ConfigError(f"{path} holds no prompt: write one a line.")
    return prompts


def spread_prompts(name: str, count: int) -> list[str]:
    """`count` prompts at even distances over the file, or all where there are no more. Raises ConfigError like
    `read_prompts`."""
    known = read_prompts(name)
    count = min(count, len(known))
    return [known[index * len(known) // count] for index in range(count)]


@overload
def load_preset(kind: Literal["models"], key: str) -> ModelPreset: ...
@overload
def load_preset(kind: Literal["train"], key: str) -> TrainPreset: ...
@overload
def load_preset(kind: Literal["rewards"], key: str) -> "Mix": ...
@overload
def load_preset(kind: str, key: str) -> Any: ...


def load_preset(kind: str, key: str) -> Any:
    """A preset by kind and key: `ModelPreset`, `rewards.mix.Mix`, or the plain table of a kind without a schema yet.

    A mix is taken whole from the user's file, if there is one: half of somebody's weights is nobody's mix.
    """
    if kind == "models":
        return load_model_preset(key)
    if kind == "train":
        return load_train_preset(key)
    if kind == "curricula":
        return load_curriculum(key)
    if kind == "rewards":
        from rewards.mix import read_mix

        return read_mix(preset_files(kind, key)[-1])
    return preset_table(kind, key)


def dump(preset: BaseModel) -> str:
    """A resolved preset or request as JSON: machines write JSON, people write TOML."""
    return preset.model_dump_json(indent=2) + "\n"
