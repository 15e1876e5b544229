"""A clip's files, written atomically in one folder named by the clip's id.

frames.mkv     the exact frames (FFV1), read by rewards and training
clip.mp4       H.264 for the browser, enlarged when the clip is small
poster.jpg     one frame, for the library's grid
request.json   prompt, fps, seams, the full request and the model's revisions: enough to make the clip again
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import MediaError, StoreError
from engine.files.atomic import fsync_path
from engine.files.locks import locked
from engine.request import GenerationRequest
from engine.storage.images import fit_picture, load_picture
from engine.storage.library import ClipRecord, Library
from engine.storage.temp_folders import staged_path
from engine.video import writer
from engine.video.reader import checksum, read_lossless
from engine.workspace import Workspace
from rewards.clip import Clip

FRAMES, MP4, POSTER, SIDECAR = "frames.mkv", "clip.mp4", "poster.jpg", "request.json"
FILES = (FRAMES, MP4, POSTER, SIDECAR)
ATTEMPTS = 3  # to write files that another process removes: a purge of the same clip


def save_clip(
    workspace: Workspace,
    clip_id: str,
    clip: Clip,
    request: GenerationRequest | None = None,
    revisions: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip's folder and return it; `request` is None for an imported clip.

    `revisions` are the commits of the model's hub repositories, by repository. A complete, undamaged folder is kept,
    since the id determines the frames. Raises StoreError when the files cannot be written (disk full, no permission);
    no partial folder is left behind.
    """
    folder = workspace.clip_folder(clip_id)

    def write(target: Path) -> None:
        writer.write_lossless(target / FRAMES, clip.frames, clip.fps)
        writer.write_mp4(target / MP4, clip.frames, clip.fps)
        writer.write_poster(target / POSTER, clip.frames)
        (target / SIDECAR).write_text(
            json.dumps(_sidecar(clip_id, clip, request, revisions), indent=2), encoding="utf-8"
        )

    if not is_intact(workspace, clip_id):
        _write_folder(workspace, folder, write)
    return folder


def keep_clip(
    store: Library,
    record: ClipRecord,
    clip: Clip,
    request: GenerationRequest | None = None,
    revisions: Mapping[str, str] | None = None,
) -> None:
    """Write a clip's files as `save_clip` does, and add its record. Raises StoreError."""
    for _ in range(ATTEMPTS):
        save_clip(store.workspace, record.id, clip, request, revisions)
        if not add_with_files(store, [record]):
            return
    raise StoreError(f"The clip {record.id} was removed while it was written: generate it again.")


def add_with_files(store: Library, records: Sequence[ClipRecord]) -> list[str]:
    """Add the records if all have files, else none; return the ids of those without.

    Files of purged clips are removed under the same lock, so that no record is left without them.
    """
    with locked(store.workspace.clips_lock):
        missing = [record.id for record in records if not has_files(store.workspace, record.id)]
        if not missing:
            store.add_clips(records)
        return missing


def is_intact(workspace: Workspace, clip_id: str) -> bool:
    """Return True when all files of the clip exist and its frames can be read."""
    if not has_files(workspace, clip_id):
        return False
    try:
        load_clip(workspace, clip_id)
    except StoreError:
        return False
    return True


def has_files(workspace: Workspace, clip_id: str) -> bool:
    """Return True when all files of the clip exist."""
    folder = workspace.clip_folder(clip_id)
    return all((folder / name).is_file() and (folder / name).stat().st_size for name in FILES)


def frames_file(workspace: Workspace, clip_id: str) -> Path:
    """Return the file of a clip's exact frames."""
    return workspace.clip_folder(clip_id) / FRAMES


def load_clip(workspace: Workspace, clip_id: str) -> Clip:
    """Load the exact frames of a clip, with its given first picture.

    Raises StoreError when its files are missing or damaged.
    """
    folder = workspace.clip_folder(clip_id)
    try:
        about = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        frames, _ = read_lossless(folder / FRAMES, about["sha256"])
        return Clip(
            frames=frames,
            fps=about["fps"],
            prompt=about["prompt"],
            seams=tuple(about["seams"]),
            first_picture=_first_picture(workspace, about["request"], frames.shape[2], frames.shape[1]),
        )
    except (OSError, ValueError, KeyError, MediaError) as error:
        raise StoreError(
            f"The files of clip {clip_id} in {folder} are missing or damaged ({error}); generate or import it again."
        ) from error


def _first_picture(
    workspace: Workspace, request: Mapping[str, Any] | None, width: int, height: int
) -> np.ndarray | None:
    """Return the picture that the clip was generated from; None without one, or when it was deleted.

    A clip whose picture was deleted can still be shown and scored by what does not need it.
    """
    name = (request or {}).get("image")
    if name is None:
        return None
    try:
        return fit_picture(load_picture(workspace, name), width, height)
    except StoreError:
        return None


def save_overlays(workspace: Workspace, clip_id: str, pictures: Mapping[str, np.ndarray], fps: float) -> dict[str, str]:
    """Write overlays `uint8[T,h,w,3]` of rewards as videos for the browser; return their file names.

    Raises StoreError when the clip's folder is missing or cannot be written.
    """
    folder = overlay_folder(workspace, clip_id)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"The overlays of clip {clip_id} cannot be kept: {error.strerror or error}.") from error
    for name, frames in pictures.items():
        writer.write_mp4(folder / f"{name}.mp4", frames, fps)
    return {name: f"{name}.mp4" for name in pictures}


def overlay_folder(workspace: Workspace, clip_id: str) -> Path:
    """Return the folder of a clip's overlays, which are not part of the clip and can be recomputed."""
    return workspace.clip_folder(clip_id) / "overlays"


def remove_files(workspace: Workspace, clip_id: str) -> None:
    """Remove a clip's folder; it disappears at once."""
    doomed = set_aside(workspace, clip_id)
    if doomed is not None:
        shutil.rmtree(doomed)


def set_aside(workspace: Workspace, clip_id: str) -> Path | None:
    """Rename a clip's folder, so that no listing has it, and return its new path.

    None without a folder. Raises OSError.
    """
    folder = workspace.clip_folder(clip_id)
    if not folder.exists():
        return None
    doomed = staged_path(folder)
    folder.rename(doomed)
    return doomed


def _sidecar(
    clip_id: str, clip: Clip, request: GenerationRequest | None, revisions: Mapping[str, str] | None
) -> dict[str, Any]:
    return {
        "id": clip_id,
        "prompt": clip.prompt,
        "fps": clip.fps,
        "shape": [clip.num_frames, clip.height, clip.width],
        "seams": list(clip.seams),
        "sha256": checksum(clip.frames),
        "request": request.model_dump(mode="json") if request else None,
        "weights": dict(revisions or {}),
    }


def _write_folder(workspace: Workspace, folder: Path, write: Callable[[Path], None]) -> None:
    try:
        with _filled(folder, write) as finished, locked(workspace.clips_lock):
            if is_intact(workspace, folder.name):  # another process has written the same clip
                return
            if folder.exists():  # incomplete or damaged
                remove_files(workspace, folder.name)
            finished.rename(folder)
            fsync_path(folder.parent)
    except (OSError, StoreError) as error:
        why = str(error) if isinstance(error, StoreError) else f"{error.strerror or error}. Free some space."
        raise StoreError(f"Clip {folder.name} was not kept: {why}") from error


@contextmanager
def _filled(target: Path, write: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a temporary folder next to `target` with its files synced to disk.

    It is removed afterwards unless it was moved.
    """
    folder = staged_path(target)
    folder.mkdir(parents=True)
    try:
        write(folder)
        for path in folder.iterdir():
            fsync_path(path)
        fsync_path(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
