"""Inputs that a run keeps copies of: prompts with pictures, and adapters under it.

A file of rows with pictures is read once; the run keeps a copy with the names of the stored pictures, so that it can be
resumed and evaluated when the file or its pictures are gone. Prompts without pictures are read from their source.
Imports no torch.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.algorithms import few_step_settings
from engine.config.data_sets import find_clips
from engine.config.presets import load_model_preset
from engine.config.prompts import PromptRow, read_rows, stored_rows
from engine.config.schema import TrainPreset
from engine.families.lora_files import WEIGHT_FILES
from engine.families.registry import one_pass_guidance
from engine.files.atomic import write_text_atomic
from engine.runs.adapters import CARD, find_adapter, read_card, scales_text
from engine.workspace import Workspace

if TYPE_CHECKING:
    from engine.runs.run import Run

KEPT = ("prompts", "test_prompts")  # keys of a preset; the copy is <key>.jsonl in the run's folder
JSON_TYPES = (str, int, float, bool, type(None))


def freeze_prompts(folder: Path, workspace: Workspace, preset: TrainPreset) -> None:
    """Copy a new run's prompts into its folder if they have pictures. Raises ConfigError for bad rows."""
    for key in KEPT:
        source = getattr(preset, key)
        rows = read_rows(source) if source else []
        if any(row.pictures for row in rows):
            lines = [json.dumps(_plain(row.stored(workspace)), ensure_ascii=False) + "\n" for row in rows]
            write_text_atomic(_copy(folder, key), "".join(lines))


def run_rows(folder: Path, workspace: Workspace, preset: TrainPreset, source: str) -> list[PromptRow]:
    """Return the rows of `source`: the run's copy, if it is one of the preset's prompts and has pictures.

    Raises ConfigError for bad rows.
    """
    copies = (_copy(folder, key) for key in KEPT if getattr(preset, key) == source)
    return stored_rows(next((str(copy) for copy in copies if copy.is_file()), source), workspace)


def _copy(folder: Path, key: str) -> Path:
    return folder / f"{key}.jsonl"


def _plain(row: PromptRow) -> dict[str, Any]:
    """Return the row as JSON types; other columns of other types are left out."""
    return {name: value for name, value in row.to_dict().items() if isinstance(value, JSON_TYPES)}


def preset_files(preset: TrainPreset) -> dict[str, Path]:
    """Return the preset's settings that are files or folders; prompts may also be named by a key."""
    named = {name: getattr(preset, name) for name in ("pairs", "prompts", "test_prompts")}
    named["data"] = preset.settings.get("data")
    named["pairs"] = str(find_clips(preset.pairs)) if preset.pairs else None
    given = {name: Path(value) for name, value in named.items() if value and isinstance(value, str)}
    return {name: path for name, path in given.items() if name in ("pairs", "data") or path.suffix}


def with_files(preset: TrainPreset, files: Mapping[str, Path]) -> TrainPreset:
    """Return the preset with other paths for some of `preset_files`."""
    paths = {name: str(path) for name, path in files.items()}
    data = {"data": paths.pop("data")} if "data" in paths else {}
    return preset.model_copy(update={**paths, "settings": {**preset.settings, **data}})


def set_adapters(
    run: "Run", preset: TrainPreset, start: Path | None, scales: Mapping[str, float] | None = None
) -> TrainPreset:
    """Copy the initial and the frozen adapter into the run; return the run's preset.

    `scales` has the scale of each adapter that the initial one was made of; None: it is the one of its folder's name.
    A model that is distilled to a few steps brings these and no guidance. Raises ConfigError for an unknown frozen
    adapter, or for settings that would undo a distillation.
    """
    name = preset.settings.get("frozen_adapter")
    frozen = find_adapter(run.workspace, str(name), preset.model).folder if name else None
    for source, copy in ((start, run.start), (frozen, run.frozen)):
        if source is not None:
            others = set(path.name for path in source.iterdir()) - {*WEIGHT_FILES, CARD}
            shutil.copytree(source, copy, ignore=lambda *_, others=others: others, dirs_exist_ok=True)
    if start is not None:
        write_text_atomic(run.start_file, json.dumps(dict(scales or {start.name: 1.0}), ensure_ascii=False) + "\n")
    if (few := few_steps(run, preset)) is None:
        return preset
    return preset.model_copy(update={"settings": few_step_settings(preset.algorithm, preset.settings, *few)})


def start_of(run: "Run") -> str:
    """Return the names and scales of the adapters that the run began with.

    It is "" for none, and for a run that did not record them.
    """
    try:
        scales = json.loads(run.start_file.read_bytes())
        return scales_text(scales)
    except (OSError, ValueError, AttributeError, TypeError):
        return ""


def few_steps(run: "Run", preset: TrainPreset) -> tuple[str, int, float] | None:
    """Return the name of the distilled part under the run, its steps and its guidance; None without one."""
    model = load_model_preset(preset.model)
    guidance = one_pass_guidance(model)
    for folder, what in ((run.frozen, "The frozen adapter"), (run.start, "The initial adapter")):
        card = read_card(folder)
        if card is not None and card.distilled and card.num_steps:
            return what, card.num_steps, guidance if guidance <= 1 or card.guidance is None else card.guidance
    return (f"The model '{model.key}'", model.num_steps, guidance) if model.distilled else None
