"""Readers of tables by file type: CSV, JSON, JSON Lines and Parquet. Imports no torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files.text_files import Table, TableRow, csv_table, json_lines, json_value


def json_table(path: Path) -> Table:
    """Return the rows of a JSON file that contains a list of objects.

    Raises ConfigError for other content.
    """
    return Table(rows=tuple(_row(number, row) for number, row in enumerate(json_list(path), start=1)))


def json_list(path: Path) -> list[Any]:
    """Return the list in a JSON file. Raises ConfigError for other content."""
    value = json_value(path)
    if not isinstance(value, list):
        raise ConfigError(f"{path} must contain a list of rows, but contains a {type(value).__name__}.")
    return value


def parquet_table(path: Path) -> Table:
    """Return the rows of a Parquet file. Raises ConfigError when it cannot be read."""
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}.") from error
    return Table(rows=tuple(_row(number, row) for number, row in enumerate(rows, start=1)))


def _row(number: int, value: Any) -> TableRow:
    if not isinstance(value, Mapping):
        return TableRow(line=number, problem=f"it is a {type(value).__name__}, but each row is an object.")
    return TableRow(line=number, fields=dict(value))


TABLE_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".parquet": parquet_table,
    ".jsonl": json_lines,
    ".csv": csv_table,
    ".json": json_table,
}
"""The reader of each file type, by suffix."""
