"""Videos that a browser sent: each lies in a folder of its own until its job is done."""

import logging
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from engine.errors import StoreError
from engine.workspace import Workspace

KEEP = timedelta(days=1)  # a job that failed may be filed again for so long

log = logging.getLogger(__name__)


@contextmanager
def kept_uploads(workspace: Workspace, sent: Sequence[Path]) -> Iterator[Path]:
    """A new folder with files that were sent together, for a job that is filed in the `with` block.

    When the block raises, the files go back to where they were sent and the folder is removed: the person who is told
    what was refused can send the same form again. Of two files of one name the later wins. Raises StoreError when one
    is gone or cannot be moved.
    """
    folder, moved = workspace.uploads / f"kept-{secrets.token_hex(8)}", dict[Path, Path]()
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


def _put_back(folder: Path, moved: Mapping[Path, Path]) -> None:
    for kept, path in moved.items():
        with suppress(OSError):
            shutil.move(kept, path)
    shutil.rmtree(folder, ignore_errors=True)


def discard_upload(workspace: Workspace, path: Path) -> None:
    """Remove an upload, a file or a folder, whose job is done; what lies elsewhere is somebody's own and stays."""
    folder = path if path.parent == workspace.uploads else path.parent
    if folder.parent == workspace.uploads:
        shutil.rmtree(folder, ignore_errors=True)


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
