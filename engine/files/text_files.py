"""Readers of users' tables and lists: CSV, JSON, JSON Lines, TOML and prompt files. Imports no torch.

Encodings are those of `rewards.text_files`. Every error names the file and, where possible, the line.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from rewards.text_files import EncodingError, one_line, parse_toml, read_text, split_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row of a table. `line` is its line number in the file, from 1, the header included.

    For an unusable row, `problem` is a sentence and `fields` is empty.
    """

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table's rows, and its column names when the format has a header (CSV)."""

    rows: tuple[TableRow, ...]
    columns: tuple[str, ...] = ()


def text_of(path: Path) -> str:
    """Return the text of a file. Raises ConfigError when it cannot be read or has an unsupported encoding."""
    try:
        return read_text(path)
    except EncodingError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def prompt_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prompts of a text file with their line numbers: one prompt per line, `#` begins a comment.

    Raises ConfigError.
    """
    for number, line in enumerate(split_lines(text_of(path)), start=1):
        words = one_line(line).strip()
        if words and not words.startswith("#"):
            yield number, words


def toml_table(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file. Raises ConfigError with the position of a mistake."""
    try:
        return parse_toml(text_of(path))
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}. Correct the file.") from error


def json_value(path: Path) -> Any:
    """Return the content of a JSON file. Raises ConfigError."""
    try:
        return json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error


def json_lines(path: Path) -> Table:
    """Return the rows of a JSON Lines file without blank lines.

    Raises ConfigError when the file cannot be read.
    """
    lines = enumerate(split_lines(text_of(path)), start=1)
    return Table(rows=tuple(_json_row(number, line) for number, line in lines if line.strip()))


def csv_table(path: Path) -> Table:
    """Return the rows of a CSV file with a header.

    Raises ConfigError when the file as a whole cannot be read.

    A row with more or fewer fields than the header gets a `problem`: its values may be in the wrong columns.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        header = next(reader, [])
        rows = [_csv_row(reader.line_num, header, values) for values in reader if values]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num} cannot be read as CSV: {error}.") from error
    _check_header(path, header)
    return Table(rows=tuple(rows), columns=tuple(header))


def _check_header(path: Path, header: list[str]) -> None:
    """Raise ConfigError for a table with another separator (a single column) or a duplicate column."""

    separator = next((mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]), None)
    if separator is not None:
        name = "tabs" if separator == "\t" else "semicolons"
        raise ConfigError(f"{path} is separated by {name}: export it with commas.")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{path} has the column '{twice[:40]}' twice: rename or remove one.")


def _csv_row(line: int, header: list[str], values: list[str]) -> TableRow:
    if len(values) != len(header):
        problem = f"it has {len(values)} fields, but the header names {len(header)} columns."
        return TableRow(line=line, problem=problem)
    return TableRow(line=line, fields=dict(zip(header, values, strict=True)))


def _json_row(number: int, line: str) -> TableRow:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return TableRow(line=number, problem=f"it is no JSON ({error.msg}, character {error.pos + 1}).")
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, deeply nested brackets
        return TableRow(line=number, problem=f"it cannot be read ({error}).")
    if not isinstance(row, dict):
        return TableRow(line=number, problem=f"{line[:40]!r} is no row: each line is a JSON object.")
    return TableRow(line=number, fields=row)
