"""Temporary folders, each named after the process that writes it.

A folder that a rename moves to its place is made next to that place, as `.NAME.HOST-BOOT.PID.RANDOM.staged`: parts of a
workspace may be links to other disks, and no rename leaves a disk. The others are made in the workspace's `tmp`, as
`NAME.HOST-BOOT.PID.RANDOM`. Machines may share a workspace: HOST and BOOT are hashes of the writer's host and boot.
"""

import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

import psutil

from engine.files.atomic import replace_folder, replaced_path
from engine.process_identity import boot_id
from engine.workspace import Workspace

SILENCE = timedelta(days=1)  # another host's writer, of which only its files can be seen, counts as dead after so long
STAGED = ".staged"
PLACES = ("clips/*", "adapters", "datasets", "runs/*/samples")
"""Where folders are staged, below a workspace's root."""


def temp_path(workspace: Workspace, name: str) -> Path:
    """Return a new path in `tmp` for this process; the caller removes the folder."""
    return workspace.tmp / _own_name(name)


def staged_path(target: Path) -> Path:
    """Return a new path next to `target` for this process.

    The caller removes the folder or renames it to `target`, which is in one of PLACES.
    """
    return target.with_name(f".{_own_name(target.name)}{STAGED}")


def _own_name(name: str) -> str:
    host, boot = machine()
    return f"{name}.{host}-{boot}.{os.getpid()}.{secrets.token_hex(4)}"


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces the folder `target` when the block ends.

    It is removed if the block fails. Raises OSError.
    """
    partial = staged_path(target)
    try:
        partial.parent.mkdir(exist_ok=True)
        partial.mkdir()
        yield partial
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_whole(folder: Path) -> None:
    """Remove a folder, first out of sight, so that half of it is never seen. Raises OSError."""
    removed = staged_path(folder)
    os.replace(folder, removed)
    shutil.rmtree(removed)


def remove_orphans(workspace: Workspace) -> int:
    """Remove the folders of dead processes and return their number.

    A process that died while it replaced a folder leaves the new one whole, without its name: it gets the name.
    """
    orphans = [folder for folder in temp_folders(workspace) if not _is_writer_alive(folder)]
    for folder in orphans:
        _finish_replacement(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


def temp_folders(workspace: Workspace) -> list[Path]:
    """Return all temporary folders, those in `tmp` and the staged ones, in the order of their names."""
    staged = (folder for place in PLACES for folder in workspace.root.glob(f"{place}/.*{STAGED}*"))
    return sorted([*workspace.tmp.iterdir(), *staged])


def _finish_replacement(partial: Path) -> None:
    target = partial.with_name(partial.name.removeprefix(".").removesuffix(STAGED).rsplit(".", 3)[0])
    if partial.name.endswith(STAGED) and replaced_path(partial).exists() and not target.exists():
        os.replace(partial, target)


@cache
def machine() -> tuple[str, str]:
    """Return hashes of this host's name and of its boot, 8 hex digits each."""
    host, boot = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in (socket.gethostname(), boot_id()))
    return host, boot


def _is_writer_alive(folder: Path) -> bool:
    own_name = folder.name.rpartition(STAGED)[0] or folder.name
    parts = own_name.rsplit(".", 3)  # the name itself may contain dots
    if len(parts) != 4 or not parts[2].isdigit():
        return False
    host, _, boot = parts[1].partition("-")
    if host != machine()[0]:
        return time.time() - _modified_s(folder) < SILENCE.total_seconds()
    return boot == machine()[1] and psutil.pid_exists(int(parts[2]))


def _modified_s(folder: Path) -> float:
    """Return the last change of a folder and its files (epoch seconds); now, if a file vanishes."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()
