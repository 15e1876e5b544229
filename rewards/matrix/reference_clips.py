"""The reference clips in `assets/calibration/clips`, for the calibration and the reward matrix.

Two domains: "real" (three films, 256x256, 68 to 80 frames) and "mini" (ten rendered clips of the embedded world, 64x64,
65 frames). `manifest.json` in the same folder has the prompt, frame rate, source and licence of each.
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import TypeAdapter, ValidationError

from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.models import FrozenModel
from rewards.weights.assets import ASSETS

FOLDER = ASSETS / "calibration" / "clips"


class ReferenceEntry(FrozenModel):
    """The entry of one reference clip.

    Its one subject `stays` in the picture or `leaves` it; `many` for several subjects or none in particular. `other` is
    a second file of the same length that shows another subject in its place.
    """

    domain: str
    file: str
    prompt: str
    fps: float
    licence: str
    subject: Literal["stays", "leaves", "many"]
    other: str | None = None


def read_reference(domain: str, folder: Path = FOLDER) -> dict[str, Clip]:
    """Read all reference clips of a domain, by name.

    Raises RewardError when they are missing or unreadable.
    """
    return {
        name: Clip(frames=_read_frames(folder / entry.file), fps=entry.fps, prompt=entry.prompt)
        for name, entry in read_manifest(domain, folder).items()
    }


def read_others(domain: str, folder: Path = FOLDER) -> dict[str, Clip]:
    """Read the clips that show another subject, by the name of their reference clip."""
    return {
        name: Clip(frames=_read_frames(folder / entry.other), fps=entry.fps, prompt=entry.prompt)
        for name, entry in read_manifest(domain, folder).items()
        if entry.other
    }


def read_manifest(domain: str, folder: Path = FOLDER) -> dict[str, ReferenceEntry]:
    """Read the entries of the reference clips of a domain, by name."""
    try:
        manifest = TypeAdapter(dict[str, ReferenceEntry]).validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise RewardError(f"The reference clips in {folder} cannot be read: {error}.") from error
    chosen = {name: entry for name, entry in manifest.items() if entry.domain == domain}
    if not chosen:
        raise RewardError(f"There are no reference clips of the domain {domain!r} in {folder}.")
    return chosen


def _read_frames(path: Path) -> np.ndarray:
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return np.asarray(stored["frames"])
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    if not frames:
        raise RewardError(f"The reference clip {path.name} cannot be read as a video.")
    return np.stack(frames)
