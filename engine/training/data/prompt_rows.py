"""Rows of training data as requests.

A row has a prompt, pictures and a negative prompt, and is checked before a model is used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.config.prompts import PICTURES, PromptRow, source_row
from engine.errors import ConfigError
from engine.request import PROMPT_LIMIT
from engine.workspace import Workspace


def check_prompts(rows: Iterable[Any]) -> None:
    """Raise ConfigError for a prompt longer than a request allows: its clips could not be remade.

    A row is a text or a mapping with `prompt`; the trainer checks others.
    """
    for number, row in enumerate(rows, start=1):
        prompt = row.get("prompt") if isinstance(row, Mapping) else row
        if isinstance(prompt, str) and len(prompt) > PROMPT_LIMIT:
            raise ConfigError(
                f"Row {number} of the data has a prompt of {len(prompt):,} characters, but a prompt has at most "
                f"{PROMPT_LIMIT:,}: shorten it."
            )


def with_stored_pictures(rows: Iterable[Any], workspace: Workspace) -> Iterable[Any]:
    """Return the rows with the names of their pictures.

    Pictures that are files are copied into the workspace. Rows without pictures are returned as they are. Raises
    ConfigError for a missing file, or one that is no picture.
    """
    if not any(_has_pictures(row) for row in rows):
        return rows
    stored = []
    for number, row in enumerate(rows, start=1):
        if _has_pictures(row):
            asked = {name: row.get(name) for name in ("prompt", *PICTURES)}
            known = source_row(asked, f"Row {number} of the data", Path()).stored(workspace)
            row = {**row, **{name: getattr(known, name) for name in PICTURES if name in row}}
        stored.append(row)
    return stored


def _has_pictures(row: Any) -> bool:
    return isinstance(row, Mapping) and any(row.get(name) is not None for name in PICTURES)


def training_rows(rows: Sequence[PromptRow]) -> list[str] | list[dict[str, Any]]:
    """Return the prompts alone if the rows have nothing else.

    Otherwise return rows with equal columns (None: not set).
    """
    tables = [row.to_dict() for row in rows]
    columns = dict.fromkeys(name for table in tables for name in table)
    if set(columns) == {"prompt"}:
        return [row.prompt for row in rows]
    return [{name: table.get(name) for name in columns} for table in tables]


def request_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `GenerationRequest` that a row of training data sets."""
    fields = {"prompt": str(row["prompt"]), **{name: row[name] for name in PICTURES if row.get(name)}}
    return {**fields, "negative_prompt": str(row["negative"])} if row.get("negative") else fields


def numbered(rows: Iterable[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the position of each row and its columns, for error messages."""
    for number, row in enumerate(rows, start=1):
        yield f"Row {number} of the data", row if isinstance(row, Mapping) else {}
