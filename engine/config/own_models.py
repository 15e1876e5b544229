"""Models of the user as presets of the workspace: a diffusers folder, or a network in a single file.

Imports no torch.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from engine.config.model_availability import needed_sources
from engine.config.presets import check_new_key, load_model_preset, preset_files, preset_keys, write_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, FamilyError
from engine.families.base import folder_needs
from engine.families.files.gguf_files import GGUF, count_gguf
from engine.families.files.model_folders import refuse_loose_files
from engine.families.files.single_files import SUFFIX, read_header, refuse_quantised_file
from engine.families.files.sources import local_path
from engine.families.loading import INDEX_FILE, check_parts, read_json
from engine.families.lora_files import SECOND_NETWORK
from engine.families.registry import FAMILIES, family_class, family_spec
from engine.hub.selection import Needs, missing_files, read_object, select_files
from engine.suggestions import validation_message
from engine.workspace import Workspace

NETWORK_PARTS = ("transformer", "transformer_2", "unet")
SAME_SIZE = 0.01  # relative difference of parameter counts of networks of one shape


def add_folder(workspace: Workspace, key: str, folder: Path, like: str | None = None) -> ModelPreset:
    """Save a diffusers folder as a model preset, with the default clip of the preset `like`.

    Without `like`, the only shipped preset is taken whose family fits and whose network has as many parameters. Raises
    ConfigError or FamilyError in one sentence.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"There is no folder '{folder}': name a diffusers folder, or a file by --file.")
    refuse_loose_files(folder)
    families = fitting_families(folder)
    size = count_network(folder)
    base = _chosen(folder, like, families) if like else _only_one(folder, families, size)
    lacking = missing_files(folder, folder_needs(family_class(base.family)))  # type: ignore[arg-type]
    if lacking:
        raise ConfigError(f"'{folder}' lacks {lacking[0]}: download the model again.")
    outside = {part: source for part, source in base.parts.items() if part not in _parts_inside(base)}
    changes: dict[str, object] = {
        "source": str(folder),
        "title": f"{folder.name} (local)",
        "parts": outside,
        "scheduler": base.scheduler if outside else {},  # a motion adapter has its own noise levels
        "revision": None,
        "licence": "",
    }
    return _save(workspace, key, base, changes, size)


def add_file(workspace: Workspace, key: str, file: Path, like: str, low_noise: Path | None = None) -> ModelPreset:
    """Save a model preset whose network is a single file, or two for a model of two experts.

    Its other parts are those of the preset `like`. Raises ConfigError or FamilyError in one sentence.
    """
    file, base = _checked_file(file), load_model_preset(like)
    part, size = family_spec(base.family).network_part, count_parameters(file)
    parts = {**base.parts, part: str(file)}
    if has_two_experts(base, size) != (low_noise is not None):
        raise ConfigError(
            f"{base.title} has one network: leave --low-noise out."
            if low_noise
            else f"{base.title} has two experts: name the file of the high-noise expert by --file, and that of the "
            "low-noise expert by --low-noise."
        )
    if low_noise is not None:
        low_noise = _checked_file(low_noise)
        parts[SECOND_NETWORK], size = str(low_noise), size + count_parameters(low_noise)
    changes: dict[str, object] = {"title": f"{file.stem} (local)", "parts": parts, "licence": ""}
    return _save(workspace, key, base, changes, size)


def _checked_file(file: Path) -> Path:
    """Return the absolute path of a file with a network. Raises ConfigError or FamilyError."""
    file = file.expanduser().resolve()
    if file.suffix not in (SUFFIX, GGUF) or not file.is_file():
        raise ConfigError(f"'{file}' is no {SUFFIX} or {GGUF} file: name one, or convert it to one of these formats.")
    if file.suffix == SUFFIX:
        refuse_quantised_file(file)
    return file


def has_two_experts(preset: ModelPreset, size: int) -> bool:
    """Return True for a model of two networks.

    Its folder tells it, or the `size` of one of the networks if the folder is not here.
    """
    main = needed_sources(preset)[0]
    folder = main.on_hub.snapshot() if main.on_hub else local_path(main.source)
    if folder is not None and (folder / INDEX_FILE).is_file():
        return read_json(folder / INDEX_FILE).get("boundary_ratio") is not None
    return _has_size(preset, 2 * size)


def _parts_inside(preset: ModelPreset) -> tuple[str, ...]:
    """Return the parts that the family reads from a model's folder."""
    family = family_class(preset.family)
    return (*getattr(family, "parts", ()), *getattr(family, "optional_parts", ()), *NETWORK_PARTS)


def is_own(workspace: Workspace, key: str) -> bool:
    """Return True if the preset exists in the workspace only and names a folder or file of this machine."""
    if preset_files("models", key) != [_path(workspace, key)]:
        return False
    return any(one.on_hub is None for one in needed_sources(load_model_preset(key)))


def forget(workspace: Workspace, key: str) -> None:
    """Delete a preset of the workspace; the model's files stay where they are."""
    _path(workspace, key).unlink(missing_ok=True)


def fitting_families(folder: Path) -> list[str]:
    """Return the families whose parts a diffusers folder has.

    Raises FamilyError when it is no such folder, or none.
    """
    pipeline = read_json(folder / INDEX_FILE).get("_class_name", "an unnamed pipeline")
    fitting = []
    for key in FAMILIES:
        try:
            check_parts(folder, getattr(family_class(key), "parts", {}))
        except FamilyError:
            continue
        fitting.append(key)
    if not fitting:
        raise FamilyError(f"'{folder}' ({pipeline}) fits no family of Dailies: {', '.join(FAMILIES)}.")
    return fitting


def count_network(folder: Path) -> int:
    """Return the number of weights of a folder's networks, each counted once. Raises FamilyError."""
    paths = [f"{part}/{file.name}" for part in NETWORK_PARTS for file in (folder / part).glob("*")]
    chosen = select_files(paths, Needs(parts=NETWORK_PARTS), lambda name: read_object(folder / name))
    files = (folder / path for path in chosen if path.endswith(SUFFIX))
    return sum(count_parameters(file) for file in files if file.is_file())


def count_parameters(file: Path) -> int:
    """Return the number of weights of a .safetensors or GGUF file. Raises FamilyError."""
    if file.suffix == GGUF:
        return count_gguf(file)
    return sum(math.prod(stored.shape) for stored in read_header(file).values())


def _chosen(folder: Path, like: str, families: Iterable[str]) -> ModelPreset:
    base = load_model_preset(like)
    if base.family not in families:
        raise ConfigError(
            f"'{folder}' fits {' and '.join(families)}, but '{like}' is of the family {base.family}: name another one."
        )
    return base


def _only_one(folder: Path, families: Iterable[str], size: int) -> ModelPreset:
    fitting = [preset for key in preset_keys("models") if (preset := load_model_preset(key)).family in families]
    same = [preset for preset in fitting if _has_size(preset, size)]
    if len(same) == 1:
        return same[0]
    keys = ", ".join(preset.key for preset in same or fitting)
    raise ConfigError(f"'{folder}' may be like {keys}: name the one whose default clip it shall have by --like.")


def _has_size(preset: ModelPreset, size: int) -> bool:
    return preset.network is not None and abs(size / preset.network.params - 1) < SAME_SIZE


def _path(workspace: Workspace, key: str) -> Path:
    return workspace.saved / "models" / f"{key}.toml"


def _save(workspace: Workspace, key: str, base: ModelPreset, changes: dict[str, object], size: int) -> ModelPreset:
    check_new_key(workspace.saved / "models", key)
    fields = base.model_dump(mode="json", exclude_defaults=True, exclude={"key", "judge", "download_gb", "notes"})
    if not _has_size(base, size):
        fields.pop("network", None)
    fields |= changes
    fields["notes"] = f"Added by a user; the default clip is that of {base.key}."
    try:
        preset = ModelPreset.model_validate({**fields, "key": key})
        needed_sources(preset)
    except ValidationError as error:
        raise ConfigError(validation_message(error, f"The model '{key}'", ModelPreset.model_fields)) from error
    given = {name: value for name, value in fields.items() if value not in (None, {}, "")}
    write_preset(workspace.saved / "models", key, given)
    return preset
