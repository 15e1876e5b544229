"""Prompts of a run, with the pictures that were copied into the workspace when the run was created.

A file of rows with pictures is read once; the run keeps a copy with the names of the stored pictures, so that it can be
resumed and evaluated when the file or its pictures are gone. Prompts without pictures are read from their source.
"""

import json
from pathlib import Path
from typing import Any

from engine.config.prompts import PromptRow, read_rows, stored_rows
from engine.config.schema import TrainPreset
from engine.files.atomic import write_text_atomic
from engine.workspace import Workspace

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
