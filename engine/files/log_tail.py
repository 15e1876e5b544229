"""Reading the end of a log of any size, optionally only the lines that contain a word."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 64 * 2**10
SEARCHED_BYTES = 32 * 2**20  # a search of a larger log reads its end only (`LogPart.skipped_bytes`)
PIECE_BYTES = 2**20
LINES = 400
LINE_CHARS = 2000  # longer lines are cut: a browser renders them too slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """`lines`, the newest last; the first `skipped_bytes` of the file were not read."""

    lines: tuple[str, ...]
    size: int
    skipped_bytes: int


def read_log(path: Path, word: str = "") -> LogPart:
    """Return the last lines, or the last lines that contain `word` in any case.

    A missing file reads as empty.
    """
    limit = SEARCHED_BYTES if word else TAIL_BYTES
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            skipped = max(0, size - limit)
            file.seek(skipped)
            lines = _lines(file, torn=skipped > 0)
            last = deque((_cut(line) for line in lines if word.lower() in line.lower()), LINES)
    except FileNotFoundError:
        return LogPart(lines=(), size=0, skipped_bytes=0)
    return LogPart(lines=tuple(last), size=size, skipped_bytes=skipped)


def _lines(file: BinaryIO, *, torn: bool) -> Iterator[str]:
    """Yield the lines from the file's position on; each state of a progress bar is a line of its own.

    With `torn` the first line is left out. Memory is at most two pieces of the file.
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
