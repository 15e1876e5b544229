"""Disk usage of the workspace, and removal of reclaimable files by key."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError
from engine.runs.checkpoint_series import REJECTED, TORN, damage
from engine.runs.purge import purge
from engine.runs.run import list_runs
from engine.storage.library import Library
from engine.storage.temp_folders import remove_orphans, temp_folders
from engine.workspace import Workspace

OLD_LOG_S = 30 * 24 * 3600.0
Cleanable = Literal["deleted", "prompts", "cache", "half_written", "rejected", "checkpoints", "old_logs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Disk usage of one part of the workspace."""

    key: str
    size_b: int
    num_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimable:
    """Disk space that a clean-up by this key would free."""

    key: Cleanable
    size_b: int
    num_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """The workspace's parts, the largest first, the reclaimable space, and the space of its disk."""

    parts: tuple[Part, ...]
    reclaimable: tuple[Reclaimable, ...]
    free_b: int
    total_b: int

    @property
    def size_b(self) -> int:
        return sum(part.size_b for part in self.parts)


def disk_use(store: Library) -> DiskUse:
    """Measure the whole workspace; takes about a second for 100,000 files on a local disk.

    The files that SQLite keeps next to the database are a part of it.
    """
    root, database = store.workspace.root, store.workspace.database.name
    entries: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir()) if root.is_dir() else ():
        entries.setdefault(database if entry.name.startswith(f"{database}-") else entry.name, []).append(entry)
    parts = []
    for key, paths in entries.items():
        size_b, num_files = size_of(paths)
        parts.append(Part(key=key, size_b=size_b, num_files=num_files))
    reclaimable = {key: size_of(_paths(store, key)) for key in CLEANERS}
    disk = shutil.disk_usage(root if root.is_dir() else root.parent)
    return DiskUse(
        parts=tuple(sorted(parts, key=lambda part: part.size_b, reverse=True)),
        reclaimable=tuple(
            Reclaimable(key=key, size_b=size, num_files=number) for key, (size, number) in reclaimable.items()
        ),
        free_b=disk.free,
        total_b=disk.total,
    )


def clean(store: Library, key: str) -> int:
    """Remove the files of `key` and return the freed bytes. Raises ConfigError for an unknown key."""
    cleaner = next((run for cleaner_key, run in CLEANERS.items() if cleaner_key == key), None)
    if cleaner is None:
        raise ConfigError(f"There is nothing called '{key[:40]}' to clean up: choose of {', '.join(CLEANERS)}.")
    before = size_of(_paths(store, key))[0]
    cleaner(store)
    return max(0, before - size_of(_paths(store, key))[0])


def size_of(paths: list[Path]) -> tuple[int, int]:
    """Return the size in bytes and the number of files in `paths`, recursively, without following links."""
    size = count = 0
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        try:
            if path.is_dir() and not path.is_symlink():
                waiting.extend(Path(entry.path) for entry in os.scandir(path))
            else:
                size += path.lstat().st_size
                count += 1
        except OSError:
            continue
    return size, count


def _paths(store: Library, key: str) -> list[Path]:
    workspace = store.workspace
    if key == "deleted":
        return [*(workspace.clip_folder(clip_id) for clip_id in store.deleted_ids()), workspace.trash]
    if key == "rejected":
        return _rejected(workspace)
    if key == "checkpoints":
        return _outdated(workspace)
    if key == "half_written":
        return temp_folders(workspace)
    if key == "old_logs":
        return [path for path in workspace.jobs.glob("*.log") if time.time() - path.stat().st_mtime > OLD_LOG_S]
    return [{"prompts": workspace.prompts, "cache": workspace.cache}[key]]


def _rejected(workspace: Workspace) -> list[Path]:
    """Return checkpoints that an alarm rolled back, and damaged ones."""
    kinds = (REJECTED, TORN)
    return [path for run in list_runs(workspace) for kind in kinds for path in run.checkpoints.glob(f"{kind}*")]


def _outdated(workspace: Workspace) -> list[Path]:
    """Return all checkpoints except the last of runs that are not being trained."""
    return [path for run in list_runs(workspace) if not run.is_training for path in run.superseded_checkpoints()]


def _remove_outdated(store: Library) -> None:
    """Remove superseded checkpoints, except of runs with a damaged last one: they resume from these."""
    for run in list_runs(store.workspace):
        last = run.last_checkpoint()
        if last is not None and not run.is_training and damage(last) is None:
            _remove(run.superseded_checkpoints())


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


CLEANERS: dict[Cleanable, Callable[[Library], object]] = {
    "deleted": lambda store: purge(store, older_than=timedelta(0)),
    "prompts": lambda store: _remove([store.workspace.prompts]),
    "cache": lambda store: _remove([store.workspace.cache]),
    "half_written": lambda store: remove_orphans(store.workspace),
    "rejected": lambda store: _remove(_rejected(store.workspace)),
    "checkpoints": _remove_outdated,
    "old_logs": lambda store: _remove(_paths(store, "old_logs")),
}
