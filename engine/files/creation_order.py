"""The order in which folders were written, stored as a number in each folder. Imports no torch.

Modification times are not reliable: the system clock can be set back, and copying a workspace may replace them all.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from engine.files.atomic import write_text_atomic

ORDER_FILE = "order"
DIGITS_LIMIT = 18


def place_last(folder: Path) -> None:
    """Give a folder a number above those of its siblings.

    Equal numbers of concurrent calls are ordered by time.
    """
    highest = max((_number(sibling) for sibling in folder.parent.iterdir() if sibling != folder), default=0)
    write_text_atomic(folder / ORDER_FILE, f"{highest + 1}\n")


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return the files ordered by the numbers of their folders, then by modification time, newest first.

    Files that no longer exist are left out. Folders without a readable number, of older versions, come last.
    """
    keyed = []
    for path in paths:
        with suppress(OSError):
            keyed.append((_number(path.parent), path.stat().st_mtime_ns, path))
    return [path for *_, path in sorted(keyed, reverse=True)]


def _number(folder: Path) -> int:
    """Return the folder's number; 0 without one."""
    try:
        text = (folder / ORDER_FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdigit() and len(text) <= DIGITS_LIMIT else 0
