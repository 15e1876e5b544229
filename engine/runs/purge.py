"""Deleted runs, and permanent removal of clips and runs that were deleted some time ago.

trash/<batch>/<run id>/   the runs of one deletion; <batch> is its time in nanoseconds
"""

import logging
import shutil
import time
from collections.abc import Container, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path

from engine.clock import now
from engine.errors import ConfigError, StoreError
from engine.files.locks import locked
from engine.runs.in_use import clips_in_use
from engine.runs.run import Run
from engine.storage.clip_files import set_aside
from engine.storage.library import Library
from engine.workspace import Workspace

KEEP = timedelta(days=7)
NANOSECONDS = 10**9

log = logging.getLogger(__name__)


def purge(store: Library, older_than: timedelta = KEEP) -> int:
    """Remove clips and runs deleted more than `older_than` ago; return the number of clips.

    Clips in use are kept (see `engine.runs.in_use`), or all while these cannot be known; and one whose files cannot be
    moved.
    """
    for batch in _batches(store.workspace):
        if time.time_ns() - int(batch.name) >= older_than.total_seconds() * NANOSECONDS:
            shutil.rmtree(batch, ignore_errors=True)
    try:
        in_use = clips_in_use(store)
    except StoreError as error:
        log.warning("No clip was purged: %s", error)
        return 0
    clip_ids = _remove_clips(store, now() - older_than, in_use)
    if clip_ids:
        log.info("Purged %d clips that were deleted more than %s ago.", len(clip_ids), older_than)
    return len(clip_ids)


def _remove_clips(store: Library, before: datetime, keep: Container[str]) -> list[str]:
    """Remove rows and files of clips deleted before a time; return their ids.

    Files are renamed before their rows are removed, and under the lock with which rows are added: a process that dies
    leaves no files without a row, and a clip that is made again or restored has both.
    """
    workspace, aside = store.workspace, list[Path]()

    def is_gone(clip_id: str) -> bool:
        try:
            folder = set_aside(workspace, clip_id)
        except OSError as error:
            log.warning("The clip %s was not purged: %s", clip_id, error)
            return False
        if folder is not None:
            aside.append(folder)
            undo.callback(folder.rename, workspace.clip_folder(clip_id))
        return True

    with locked(workspace.clips_lock), ExitStack() as undo:
        clip_ids = store.forget_deleted(before, keep, is_gone)
        undo.pop_all()
    for folder in aside:
        shutil.rmtree(folder, ignore_errors=True)
    return clip_ids


def move_to_trash(runs: Sequence[Run]) -> None:
    """Move the folders of runs into the workspace's trash, all or none.

    Their adapters stay, since clips name them. Raises ConfigError for a run in training, StoreError if a folder
    cannot be moved.
    """
    for run in runs:
        if run.is_training:
            raise ConfigError(f"The run {run.id} is being trained: stop it first.")
    if runs:
        batch = runs[0].workspace.trash / str(time.time_ns())
        _move([(run.folder, batch / run.id) for run in runs])


def deleted_runs(workspace: Workspace) -> list[str]:
    """Return the ids of the runs of the last deletion that can be restored."""
    return sorted(folder.name for batch in _batches(workspace)[-1:] for folder in batch.iterdir())


def restore_runs(workspace: Workspace, run_ids: Sequence[str]) -> list[str]:
    """Undo the deletion of these runs, which were deleted together; return their ids.

    Runs that are back already stay as they are. Raises ConfigError if one of the others is not in the trash, or was
    deleted at another time.
    """
    runs = sorted(set(run_ids))
    if all((workspace.runs / run).exists() for run in runs):
        return runs
    batch = next((one for one in _batches(workspace) if runs == sorted(folder.name for folder in one.iterdir())), None)
    if batch is None:
        raise ConfigError(f"The deletion of {', '.join(runs)} cannot be undone: these runs are not in the trash.")
    for run in runs:
        if (workspace.runs / run).exists():
            raise ConfigError(f"A run {run} exists again: rename its folder, then restore the deleted one.")
    _move([(batch / run, workspace.runs / run) for run in runs])
    with suppress(OSError):
        batch.rmdir()
    return runs


def _batches(workspace: Workspace) -> list[Path]:
    """Return the deletions, oldest first."""
    folders = [folder for folder in workspace.trash.glob("*") if folder.name.isdecimal() and any(folder.iterdir())]
    return sorted(folders, key=lambda folder: int(folder.name))


def _move(moves: Sequence[tuple[Path, Path]]) -> None:
    try:
        with ExitStack() as undo:
            for source, target in moves:
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
                undo.callback(target.rename, source)
            undo.pop_all()
    except OSError as error:
        raise StoreError(f"A run cannot be moved: {error.strerror or error}. Nothing was changed.") from error
