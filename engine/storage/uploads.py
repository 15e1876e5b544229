"""Uploaded videos: each batch has its own folder until its job is done."""

import logging
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from engine.errors import ConfigError, StoreError
from engine.workspace import Workspace

KEPT = "kept-"  # begins the name of a folder of uploads that belong to a job
KEEP = timedelta(days=1)  # time in which a failed job can be submitted again

log = logging.getLogger(__name__)


@contextmanager
def kept_uploads(workspace: Workspace, sent: Sequence[Path]) -> Iterator[Path]:
    """Move files of one upload to a new folder, for a job that is submitted in the `with` block.

    When the block raises, the files are moved back and the folder is removed, so that the user can submit the same form
    again. Raises ConfigError for two files of one name, StoreError when a file is missing or cannot be moved.
    """
    sent = list(dict.fromkeys(sent))
    if twice := [name for name, number in Counter(path.name for path in sent).items() if number > 1]:
        raise ConfigError(f"Two different files are named '{twice[0]}': rename one, or send them one after the other.")
    folder, moved = workspace.uploads / f"{KEPT}{secrets.token_hex(8)}", dict[Path, Path]()
    with ExitStack() as undo:
        undo.callback(_put_back, folder, moved)
        for path in sent:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.move(path, folder / path.name)
            except OSError as error:
                why = error.strerror or error
                raise StoreError(f"The upload '{path.name}' was not kept ({why}): send it again.") from error
            moved[folder / path.name] = path
        yield folder
        undo.pop_all()


def is_kept(folder: Path) -> bool:
    """Return True for a folder made by `kept_uploads`."""
    return folder.name.startswith(KEPT)


def _put_back(folder: Path, moved: Mapping[Path, Path]) -> None:
    for kept, path in moved.items():
        with suppress(OSError):
            shutil.move(kept, path)
    shutil.rmtree(folder, ignore_errors=True)


def discard_upload(workspace: Workspace, path: Path) -> None:
    """Remove an upload, a file or a folder, whose job is done.

    A path outside the uploads is a user's own and stays.
    """
    folder = path if path.parent == workspace.uploads else path.parent
    if folder.parent == workspace.uploads:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_uploads(workspace: Workspace, in_use: Iterable[Path] = (), older_than: timedelta = KEEP) -> int:
    """Remove old uploads that are not `in_use` by jobs, and return the number of folders."""
    spared = {folder for path in in_use for folder in (path, path.parent)}
    oldest = time.time() - older_than.total_seconds()
    stale = [folder for folder in workspace.uploads.glob("*") if folder not in spared and _modified_s(folder) < oldest]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    if stale:
        log.info("Removed %d uploads that no job uses.", len(stale))
    return len(stale)


def _modified_s(folder: Path) -> float:
    """Return a folder's modification time in seconds since the epoch.

    The current time if it no longer exists.
    """
    try:
        return folder.stat().st_mtime
    except OSError:
        return time.time()
