"""Clips for the tests of the rewards: rendered scenes of the world, and real clips if available."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.mini import world
from rewards import Clip
from rewards.weights.catalog import PRESENT, status

SHARED = Path(__file__).resolve().parents[3] / "shared"
VIDEOS = SHARED / "videos"


@pytest.fixture
def real_weights(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set DAILIES_WEIGHTS to the folder of the given networks; skip if one is not there."""
    folder = os.environ.get("DAILIES_WEIGHTS") or str(SHARED / "weights")

    def require(*keys: str) -> None:
        monkeypatch.setenv("DAILIES_WEIGHTS", folder)
        missing = [key for key in keys if status(key).state != PRESENT]
        if missing:
            pytest.skip(f"no weights of {', '.join(missing)}: name their folder in DAILIES_WEIGHTS")

    return require


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder of weights, empty caches: only what comes with Dailies and with packages."""
    hide_weights(monkeypatch, tmp_path)


def hide_weights(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """Let no folder of weights be found outside the packages; `empty` is a folder without files."""
    monkeypatch.delenv("DAILIES_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(empty / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(empty / "hub"))


def render_clip(motion: str = "right", *, num_frames: int = 33, background: str = "meadow", **options: object) -> Clip:
    """A clip of one red star; `options` are fields of the scene or of its subject."""
    place = {key: options.pop(key) for key in ("shape", "colour", "size", "x", "y", "phase") if key in options}
    subject = world.Subject(**{"shape": "star", "colour": "red", "size": "medium", "x": 20.0, "y": 34.0, **place})
    scene = world.Scene((subject,), motion, background, **options)
    return Clip(frames=world.render(scene, num_frames), fps=world.FPS, prompt=world.prompt(scene))


def real_clip(name: str, num_frames: int = 33, size_px: int = 192) -> Clip:
    """Return the first frames of a file of `../shared/videos`, cropped to a square; skip if it is absent."""
    path = VIDEOS / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not in ../shared/videos")
    reader = cv2.VideoCapture(str(path))
    frames = [_square(reader.read()[1], size_px) for _ in range(num_frames)]
    return Clip(frames=np.stack(frames), fps=reader.get(cv2.CAP_PROP_FPS), prompt="")


def _square(bgr: np.ndarray, size_px: int) -> np.ndarray:
    height, width = bgr.shape[:2]
    side, top, left = min(height, width), max(0, height - width) // 2, max(0, width - height) // 2
    square = bgr[top : top + side, left : left + side, ::-1]
    return cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_AREA)
