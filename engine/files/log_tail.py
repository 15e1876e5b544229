"""Reading a log that may be of any size: its end, or the lines of its end that hold a word."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 64 * 2**10
SEARCHED_BYTES = 32 * 2**20  # a search of a larger log looks at its end only, and says so
PIECE_BYTES = 2**20
LINES = 400
LINE_CHARS = 2000  # what is longer is cut: nobody reads it, and a browser chokes on it


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
            lines = _lines(file, torn=skipped > 0)
            found = deque((_cut(line) for line in lines if word.lower() in line.lower()), LINES)
    except FileNotFoundError:
        return LogPart(lines=(), size=0, skipped_bytes=0)
    return LogPart(lines=tuple(found), size=size, skipped_bytes=skipped)


def _lines(file: BinaryIO, *, torn: bool) -> Iterator[str]:
    """The lines from here on, each state of a progress bar one too; a `torn` first one is left out.

    Never holds more than two pieces of the file.
    """
    rest = b""
    while piece := file.read(PIECE_BYTES):
        *whole, rest = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if torn and whole:
            whole, torn = whole[1:], False
        yield from (line.decode("utf-8", "replace") for line in whole)
        if len(rest) > PIECE_BYTES:
            if not torn:
                yield rest.decode("utf-8", "replace")
            rest = b""
    if rest and not torn:
        yield rest.decode("utf-8", "replace")


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]} ... ({len(line):,} characters)"
