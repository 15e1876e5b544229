"""Lines of a file that grows, such as a run's metrics, each read on its own: a damaged one hides no other.

What a process that was killed left is a torn last line. Any other line that cannot be read was damaged afterwards.
Imports no torch.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

STEP_LIMIT = 2**53
"""Steps are counted exactly below it."""
MetricRow = dict[str, float]


def metric_row(line: bytes) -> MetricRow | None:
    """A row of numbers with a whole `step` of 0 or more; None for any other line.

    What is no finite number is left out of the row.
    """
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            return None
        numbers = {name: value for name, value in row.items() if _is_number(value)}
    except (ValueError, RecursionError):  # of text, of JSON, of a number with thousands of digits
        return None
    step = numbers.get("step")
    return numbers if step is not None and 0 <= step < STEP_LIMIT and step == int(step) else None


def whole_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """The lines that have an end, without it, from the byte `start` on; none where there is no file. Blank ones are
    left out."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n") and line.strip():
                    yield line[:-1]
    except FileNotFoundError:
        return


def append_line(path: Path, line: str) -> None:
    """Write one line, in one call. After a torn line it begins a new one."""
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
