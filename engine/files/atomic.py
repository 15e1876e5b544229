"""Atomic writes of folders and files: a process that dies in between leaves no partial result."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_folder(partial: Path, target: Path) -> None:
    """Rename a finished folder to `target` durably, replacing a folder of that name.

    `partial` and `target` are on one file system. The files are on the disk before the rename. A process that dies
    while it replaces a folder can leave no `target`, and the old folder under another name.
    """
    for path in sorted(partial.rglob("*")):
        fsync_path(path)
    fsync_path(partial)
    if target.exists():
        replaced = replaced_path(partial)
        shutil.rmtree(replaced, ignore_errors=True)  # of a process that died
        os.replace(target, replaced)
        os.replace(partial, target)
        shutil.rmtree(replaced)
    else:
        os.replace(partial, target)
    fsync_path(target.parent)


def replaced_path(partial: Path) -> Path:
    """Return where `replace_folder` keeps the replaced folder until the new one has its name."""
    return partial.with_name(f"{partial.name}-replaced")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder in the folder of `target`.

    It is renamed to `target` when the block ends, and removed if the block fails. Raises FileExistsError when there is
    a `target` already, and OSError.
    """
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            raise FileExistsError(f"{target} already exists")
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text_atomic(path: Path, text: str, *, new: bool = False, private: bool = False) -> None:
    """Write a UTF-8 file as `write_bytes_atomic` does. Raises UnicodeEncodeError."""
    write_bytes_atomic(path, text.encode(), new=new, private=private)


def write_bytes_atomic(path: Path, content: bytes, *, new: bool = False, private: bool = False) -> None:
    """Write a file atomically; its content is on the disk before the file has its name.

    With `new`, an existing file raises FileExistsError. A `private` file is readable by its owner only. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path, durable=True, new=new) as partial:
        partial.touch(0o600 if private else 0o666)
        partial.write_bytes(content)


@contextmanager
def partial_file(path: Path, *, durable: bool = False, new: bool = False) -> Iterator[Path]:
    """Yield a path to write, which is renamed to `path` when the block ends.

    It is removed when the block fails. `durable`: the content is on the disk before the file has its name. With `new`,
    an existing file raises FileExistsError. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        if durable:
            fsync_path(partial)
        if new:
            os.link(partial, path)  # unlike a rename, it fails when the name exists
        else:
            os.replace(partial, path)
        if durable:
            fsync_path(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Wait until the file, or the folder's directory entries, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
