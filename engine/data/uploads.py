"""Videos that a browser sent: each lies in a folder of its own until its job has imported it."""

import logging
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from engine.data.workspace import Workspace
from engine.errors import StoreError

KEEP = timedelta(days=1)  # a job that failed may be filed again for so long

log = logging.getLogger(__name__)


def keep_uploads(workspace: Workspace, sent: Sequence[Path]) -> Path:
    """Move files that were sent together to a folder of their own and say which: two jobs never share one.

    Of two files of one name the later wins. Raises StoreError when one is gone or cannot be moved.
    """
    folder = workspace.uploads / f"kept-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    for path in sent:
        try:
            shutil.move(path, folder / path.name)
        except OSError as error:
            why = error.strerror or error
            raise StoreError(f"The upload '{path.name}' was not kept ({why}): send it again.") from error
    return folder


def keep_upload(workspace: Workspace, sent: Path) -> Path:
    """The same for one file; says where it is now."""
    return keep_uploads(workspace, [sent]) / sent.name


def discard_upload(workspace: Workspace, path: Path) -> None:
    """Remove an upload whose job has imported it; a file from anywhere else is somebody's own and stays."""
    if path.parent.parent == workspace.uploads:
        shutil.rmtree(path.parent, ignore_errors=True)


def sweep_uploads(workspace: Workspace, wanted: Iterable[Path] = (), older_than: timedelta = KEEP) -> int:
    """Remove uploads that came longer ago, but for those that jobs still want, and say how many folders that were."""
    spared = {folder for path in wanted for folder in (path, path.parent)}
    oldest = time.time() - older_than.total_seconds()
    left = [folder for folder in workspace.uploads.glob("*") if folder not in spared and _came(folder) < oldest]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    if left:
        log.info("Removed %d uploads that nothing wants any more.", len(left))
    return len(left)


def _came(folder: Path) -> float:
    """When something last came into a folder, in seconds since the epoch; now, where it has just gone."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return time.time()
