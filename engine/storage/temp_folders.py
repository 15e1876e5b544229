"""Temporary folders in the workspace's `tmp`, each named after the process that writes it."""

import os
import secrets
import shutil
from pathlib import Path

import psutil

from engine.workspace import Workspace


def temp_path(workspace: Workspace, name: str) -> Path:
    """Return a new path for this process; the caller removes the folder or moves it to its place."""
    return workspace.tmp / f"{name}.{os.getpid()}.{secrets.token_hex(4)}"


def remove_orphans(workspace: Workspace) -> int:
    """Remove the folders of dead processes and return their number."""
    orphans = [folder for folder in workspace.tmp.iterdir() if not _is_writer_alive(folder)]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return len(orphans)


def _is_writer_alive(folder: Path) -> bool:
    parts = folder.name.rsplit(".", 2)  # the name itself may contain dots
    return len(parts) == 3 and parts[1].isdigit() and psutil.pid_exists(int(parts[1]))
