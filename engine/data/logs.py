"""Reading a log that may be of any size: its end, or the lines of its end that hold a word."""

import os
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 64 * 2**10
SEARCHED_BYTES = 32 * 2**20  # a search of a larger log looks at its end only, and says so
LINES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """`lines`, the newest last; `skipped_bytes` of the file before them were not looked at."""

    lines: tuple[str, ...]
    size: int
    skipped_bytes: int


def read_log(path: Path, word: str = "") -> LogPart:
    """The last lines, or the last that hold `word` (upper and lower case are alike). No file reads as an empty one."""
    looked_at = SEARCHED_BYTES if word else TAIL_BYTES
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            skipped = max(0, size - looked_at)
            file.seek(skipped)
            content = file.read()
    except FileNotFoundError:
        return LogPart(lines=(), size=0, skipped_bytes=0)
    lines = content.decode("utf-8", "replace").splitlines()[1 if skipped else 0 :]  # the first one may be torn
    found = [line for line in lines if word.lower() in line.lower()] if word else lines
    return LogPart(lines=tuple(found[-LINES:]), size=size, skipped_bytes=skipped)
