"""Folders that are filled aside, in the workspace's `tmp`, each named after the process that does it."""

import os
import secrets
import shutil
from pathlib import Path

import psutil

from engine.workspace import Workspace


def temp_path(workspace: Workspace, name: str) -> Path:
    """A fresh path for this process; whoever makes it removes it, or moves it to its place."""
    return workspace.tmp / f"{name}.{os.getpid()}.{secrets.token_hex(4)}"


def remove_orphans(workspace: Workspace) -> int:
    """Remove what processes that are gone left half written or half removed, and say how many folders that were."""
    left = [folder for folder in workspace.tmp.iterdir() if not _writer_lives(folder)]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)


def _writer_lives(folder: Path) -> bool:
    """A name may have dots of its own."""
    parts = folder.name.rsplit(".", 2)
    return len(parts) == 3 and parts[1].isdigit() and psutil.pid_exists(int(parts[1]))
