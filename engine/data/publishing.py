"""Folders that are whole or not there, whatever dies in between."""

import os
import secrets
import shutil
from pathlib import Path


def publish_folder(partial: Path, target: Path) -> None:
    """Give a finished folder its name, in one step and for good; a folder that has the name already is replaced.

    `partial` and `target` lie on one file system. What was written is on the disk before the name is.
    """
    for path in sorted(partial.rglob("*")):
        flush(path)
    flush(partial)
    if target.exists():
        replaced = partial.with_name(f"replaced.{os.getpid()}.{secrets.token_hex(4)}")
        os.replace(target, replaced)
        os.replace(partial, target)
        shutil.rmtree(replaced)
    else:
        os.replace(partial, target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
