"""Lines of append-only files, such as a run's metrics.

Each line is read on its own, so a damaged line hides no other.

A process that was killed may leave a torn last line. Any other unreadable line was damaged afterwards. Imports no
torch.
"""

import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

STEP_LIMIT = 2**53
"""Floats represent all whole numbers below it exactly."""
MetricRow = dict[str, float]


def metric_row(line: bytes) -> MetricRow | None:
    """Return a row of numbers with a whole `step` of 0 or more; None for any other line.

    Values that are not finite numbers are left out of the row.
    """
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            return None
        numbers = {name: value for name, value in row.items() if _is_number(value)}
    except (ValueError, RecursionError):  # invalid text or JSON, or a number with thousands of digits
        return None
    step = numbers.get("step")
    return numbers if step is not None and 0 <= step < STEP_LIMIT and step == int(step) else None


def metric_columns(text: bytes) -> dict[str, np.ndarray] | None:
    """Return the columns `float64[N]` of N complete lines that each hold a row of numbers, NaN where a row has none.

    The result has what `metric_row` finds in the lines, several times as fast. None when a line is blank or damaged,
    has no whole `step`, or holds a list or an object, so that each line must be read by itself.
    """
    import pyarrow.json

    count = text.count(b"\n")
    # Each line begins and ends as an object does, so that no row is made of two torn lines.
    if not text.startswith(b"{") or not text.endswith(b"}\n") or text.count(b"}\n{") != count - 1:
        return None
    try:
        table = pyarrow.json.read_json(io.BytesIO(text))
    except (pyarrow.ArrowException, ValueError):
        return None
    types = {name: table.schema.field(name).type for name in table.column_names}
    if table.num_rows != count or len(types) != len(table.column_names):
        return None
    columns: dict[str, np.ndarray] = {}
    for name, kind in types.items():
        if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            columns[name] = table.column(name).to_numpy().astype(np.float64)
        elif pyarrow.types.is_nested(kind):
            return None
    steps = columns.get("step")
    if steps is None or not ((steps >= 0) & (steps < STEP_LIMIT) & (steps == np.floor(steps))).all():
        return None
    return columns


def whole_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield the complete lines from the byte `start` on, without their line ends.

    Blank lines are left out. A missing file has no lines.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n") and line.strip():
                    yield line[:-1]
    except FileNotFoundError:
        return


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write; after a torn line, begin a new line first."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        torn = size > 0 and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False
