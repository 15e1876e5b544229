"""Bringing a video file into the library."""

import hashlib
from pathlib import Path

import numpy as np

from engine.data.clip_files import save_clip
from engine.data.store import ClipRecord, Store
from engine.data.workspace import Workspace
from engine.errors import ConfigError
from engine.generation.request import PROMPT_LIMIT
from engine.generation.video_reader import checksum, read_video
from rewards.clip import Clip


def import_clip(store: Store, path: Path | str, prompt: str = "") -> ClipRecord:
    """Read a video (mp4, gif, webm, avi, mkv) and keep it as a clip; the same frames and prompt give the same clip.

    Raises MediaError (no video, damaged, too large), ConfigError (the prompt is too long) or StoreError (disk full).
    """
    return store.add_clip(keep_video(store.workspace, path, prompt)[0])


def keep_video(workspace: Workspace, path: Path | str, prompt: str = "") -> tuple[ClipRecord, Clip]:
    """The files of an imported clip, which the database does not know yet. Raises the same."""
    if len(prompt) > PROMPT_LIMIT:
        raise ConfigError(f"A prompt has at most {PROMPT_LIMIT} characters, but got {len(prompt)}; shorten it.")
    frames, fps, notes = read_video(Path(path))
    clip = Clip(frames=frames, fps=fps, prompt=prompt)
    clip_id = content_id(frames, fps, prompt)
    save_clip(workspace, clip_id, clip)
    return ClipRecord.imported(clip_id, clip, notes), clip


def content_id(frames: np.ndarray, fps: float, prompt: str) -> str:
    """16 hex digits that name an imported clip by what it shows: `frames` are `uint8[T,H,W,3]`."""
    return hashlib.sha256(f"{checksum(frames)} {fps} {prompt}".encode()).hexdigest()[:16]
