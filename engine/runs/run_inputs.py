"""Inputs that a run keeps copies of: prompts with pictures, and adapters under it.

A file of rows with pictures is read once; the run keeps a copy with the names of the stored pictures, so that it can be
resumed and evaluated when the file or its pictures are gone. Prompts without pictures are read from their source.
Imports no torch.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.algorithms import few_step_settings
from engine.config.presets import load_model_preset
from engine.config.prompts import PromptRow, read_rows, stored_rows
from engine.config.schema import TrainPreset
from engine.families.lora_files import WEIGHT_FILES
from engine.files.atomic import write_text_atomic
from engine.runs.adapters import CARD, find_adapter, read_card
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


def set_adapters(run: "Run", preset: TrainPreset, start: Path | None) -> TrainPreset:
    """Copy the initial and the frozen adapter into the run; return the run's preset.

    A model that is distilled to a few steps brings these and no guidance. Raises ConfigError for an unknown frozen
    adapter, or for settings that would undo a distillation.
    """
    name = preset.settings.get("frozen_adapter")
    frozen = find_adapter(run.workspace, str(name), preset.model).folder if name else None
    for source, copy in ((start, run.start), (frozen, run.frozen)):
        if source is not None:
            others = set(path.name for path in source.iterdir()) - {*WEIGHT_FILES, CARD}
            shutil.copytree(source, copy, ignore=lambda *_, others=others: others, dirs_exist_ok=True)
    if (few := few_steps(run, preset)) is None:
        return preset
    return preset.model_copy(update={"settings": few_step_settings(preset.algorithm, preset.settings, *few)})


def few_steps(run: "Run", preset: TrainPreset) -> tuple[str, int] | None:
    """Return the name of the distilled part under the run and its steps; None without one."""
    for folder, what in ((run.frozen, "The frozen adapter"), (run.start, "The initial adapter")):
        card = read_card(folder)
        if card is not None and card.distilled and card.num_steps:
            return what, card.num_steps
    model = load_model_preset(preset.model)
    return (f"The model '{model.key}'", model.num_steps) if model.distilled else None
