"""Temporary folders in the workspace's `tmp`, each named after the process that writes it.

Machines may share a workspace: `NAME.HOST-BOOT.PID.RANDOM` has hashes of the writer's host and of its boot.
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

from engine.files.atomic import replace_folder
from engine.process_identity import boot_id
from engine.workspace import Workspace

SILENCE = timedelta(days=1)  # another host's writer, of which only its files can be seen, counts as dead after so long


def temp_path(workspace: Workspace, name: str) -> Path:
    """Return a new path for this process; the caller removes the folder or moves it to its place."""
    host, boot = machine()
    return workspace.tmp / f"{name}.{host}-{boot}.{os.getpid()}.{secrets.token_hex(4)}"


@contextmanager
def replaced_folder(workspace: Workspace, target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces the folder `target` when the block ends.

    It is removed if the block fails. Raises OSError.
    """
    partial = temp_path(workspace, target.name)
    try:
        partial.mkdir(parents=True)
        yield partial
        target.parent.mkdir(exist_ok=True)
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_whole(workspace: Workspace, folder: Path) -> None:
    """Remove a folder, first out of sight, so that half of it is never seen. Raises OSError."""
    removed = temp_path(workspace, folder.name)
    removed.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, removed)
    shutil.rmtree(removed)


def remove_orphans(workspace: Workspace) -> int:
    """Remove the folders of dead processes and return their number."""
    orphans = [folder for folder in workspace.tmp.iterdir() if not _is_writer_alive(folder)]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


@cache
def machine() -> tuple[str, str]:
    """Return hashes of this host's name and of its boot, 8 hex digits each."""
    host, boot = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in (socket.gethostname(), boot_id()))
    return host, boot


def _is_writer_alive(folder: Path) -> bool:
    parts = folder.name.rsplit(".", 3)  # the name itself may contain dots
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
