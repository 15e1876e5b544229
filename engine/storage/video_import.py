"""Import of video files into the library."""

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from engine.errors import ConfigError, StoreError
from engine.files.locks import locked
from engine.request import PROMPT_LIMIT
from engine.storage.clip_files import add_with_files, has_files, remove_files, save_clip
from engine.storage.database import check_text
from engine.storage.library import ClipRecord, Library
from engine.video.reader import checksum, read_video
from engine.workspace import Workspace
from rewards.clip import Clip


def import_clip(store: Library, path: Path | str, prompt: str = "") -> ClipRecord:
    """Import a video (mp4, gif, webm, avi, mkv) as a clip; the same frames and prompt give the same clip.

    Raises MediaError (no video, damaged, too large), ConfigError (the prompt is too long) or StoreError (disk full); no
    part of the clip is then stored.
    """
    record, clip = read_record(path, prompt)
    with clips_kept(store) as keep:
        keep(record, clip)
    return store.clip(record.id)


def store_video(workspace: Workspace, path: Path | str, prompt: str = "") -> tuple[ClipRecord, Clip]:
    """Write the files of an imported clip without a database row. Raises the same errors as `import_clip`."""
    record, clip = read_record(path, prompt)
    save_clip(workspace, record.id, clip)
    return record, clip


def read_record(path: Path | str, prompt: str = "") -> tuple[ClipRecord, Clip]:
    """Read a video as a clip and its record, without storing them. Raises MediaError or ConfigError."""
    if len(prompt) > PROMPT_LIMIT:
        raise ConfigError(f"A prompt has at most {PROMPT_LIMIT} characters, but got {len(prompt)}; shorten it.")
    check_text(prompt)
    frames, fps, notes = read_video(Path(path))
    clip = Clip(frames=frames, fps=fps, prompt=prompt)
    return ClipRecord.imported(content_id(frames, fps, prompt), clip, notes, Path(path).name), clip


def _remove(store: Library, clip_ids: Sequence[str]) -> None:
    """Remove the files of clips, except those that another import has recorded in the meantime."""
    recorded: Container[str] = ()
    with locked(store.workspace.clips_lock):
        with suppress(StoreError):  # a database that cannot be read records nothing
            recorded = store.existing(clip_ids)
        for clip_id in clip_ids:
            if clip_id not in recorded:
                remove_files(store.workspace, clip_id)


@contextmanager
def clips_kept(store: Library) -> Iterator[Callable[[ClipRecord, Clip], None]]:
    """Store imported clips atomically: the block writes files, then one transaction adds the records.

    When the block or the transaction raises, new files are removed again.
    """
    new, records = list[str](), dict[str, ClipRecord]()

    def keep(record: ClipRecord, clip: Clip) -> None:
        if record.id in records:
            return
        if not has_files(store.workspace, record.id):
            new.append(record.id)
        save_clip(store.workspace, record.id, clip)
        records[record.id] = record

    with ExitStack() as undo:
        undo.callback(_remove, store, new)
        yield keep
        if missing := add_with_files(store, list(records.values())):
            raise StoreError(f"The clip {missing[0]} was removed while it was imported: import it again.")
        undo.pop_all()


def content_id(frames: np.ndarray, fps: float, prompt: str) -> str:
    """Return an imported clip's id, 16 hex digits of its content; `frames` are `uint8[T,H,W,3]`."""
    return hashlib.sha256(f"{checksum(frames)} {fps} {prompt}".encode()).hexdigest()[:16]
