"""Deleted runs, and permanent removal of clips and runs that were deleted some time ago.

trash/<batch>/<run id>/   the runs of one deletion; <batch> is its time in nanoseconds
"""

import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

from engine.clock import now
from engine.errors import ConfigError, StoreError
from engine.runs.in_use import clips_in_use
from engine.runs.run import Run
from engine.storage.clip_files import remove_files
from engine.storage.library import Library
from engine.workspace import Workspace

KEEP = timedelta(days=7)
NANOSECONDS = 10**9

log = logging.getLogger(__name__)


def purge(store: Library, older_than: timedelta = KEEP) -> int:
    """Remove clips and runs deleted more than `older_than` ago; return the number of clips.

    Clips in use are kept (see `engine.runs.in_use`), or all while these cannot be known. Rows are removed first, in one
    transaction, so that a concurrent restore keeps either both row and files, or neither.
    """
    for batch in _batches(store.workspace):
        if time.time_ns() - int(batch.name) >= older_than.total_seconds() * NANOSECONDS:
            shutil.rmtree(batch, ignore_errors=True)
    try:
        in_use = clips_in_use(store)
    except StoreError as error:
        log.warning("No clip was purged: %s", error)
        return 0
    clip_ids = store.forget_deleted(now() - older_than, keep=in_use)
    for clip_id in clip_ids:
        remove_files(store.workspace, clip_id)
    if clip_ids:
        log.info("Purged %d clips that were deleted more than %s ago.", len(clip_ids), older_than)
    return len(clip_ids)


def move_to_trash(runs: Sequence[Run]) -> None:
    """Move the folders of runs into the workspace's trash, all or none.

    Their adapters stay, since clips name them. Raises ConfigError for a run that is trained, StoreError if a folder
    cannot be moved.
    """
    for run in runs:
        if run.is_trained:
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
