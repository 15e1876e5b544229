"""Write the reference statistics of `fvd_lite`, which the repository contains.

    python -m tools.mini.fvd_reference --backend mini                    300 drawn clips, about a minute on one core
    python -m tools.mini.fvd_reference --backend i3d --videos FOLDER     videos of your own domain, 1 s per stretch

Writes `assets/reward_nets/fvd_reference_<backend>.npz`, or to the folder of `--out`: a file in the folder that
DAILIES_WEIGHTS names takes precedence over the shipped one. Real videos are cut into pieces of 64 frames; the
leave-one-out distance of a piece excludes its whole video.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from engine.mini import world
from rewards.metrics.fvd_lite import open_network_of, stretches
from rewards.vision.reference_distance import ReferenceFeatures
from rewards.weights.assets import ASSETS
from tools.mini.reference_fit import fit_reference, save_reference

log = logging.getLogger(__name__)

FOLDER = ASSETS / "reward_nets"
ENDINGS = {".mp4", ".avi", ".mkv", ".webm", ".mov", ".gif"}
RANK = 32
PIECE_FRAMES, LEAST_FRAMES = 64, 16
DRAWN_CLIPS, DRAWN_FRAMES = 300, 65
VERSION = 1

Pieces = Iterator[tuple[np.ndarray, str]]


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("mini", "i3d"), required=True)
    parser.add_argument("--videos", type=Path, help="a folder of videos; without it, clips of the drawn world")
    parser.add_argument("--skip", nargs="*", default=[], help="names of files in the folder to skip")
    parser.add_argument("--clips", type=int, default=DRAWN_CLIPS, help="number of clips to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    pieces = filmed(options.videos, options.skip) if options.videos else drawn(options.clips, options.seed)
    reference = make(options.backend, pieces)
    save_reference(reference, options.out / f"fvd_reference_{options.backend}.npz")
    log.info(json.dumps(reference.notes, indent=1))


def make(backend: str, pieces: Pieces) -> ReferenceFeatures:
    """Compute the features of every piece and fit the reference.

    `pieces` yields frames `uint8[T,H,W,3]` and the name of their video.
    """
    network = open_network_of(backend)
    described, owners = [], []
    for frames, owner in pieces:
        described.append(network.describe(stretches(frames, network.side_px)))
        owners.append(owner)
        if len(owners) % 50 == 0:
            log.info("%d pieces", len(owners))
    names = list(dict.fromkeys(owners))
    notes = {
        "version": VERSION,
        "command": f"python -m tools.mini.fvd_reference --backend {backend}",
        "of": names if len(names) < 50 else f"{len(names)} clips of engine/mini/world.py",
        "pieces": len(owners),
        "stretches": sum(map(len, described)),
        "fingerprint": network.fingerprint(),
    }
    reference = fit_reference(described, [names.index(owner) for owner in owners], RANK, notes)
    measured = np.quantile(reference.left_out, [0.05, 0.5, 0.95]).round(3).tolist()
    notes |= {"left_out_5_50_95": measured, "confidence": round(reference.confidence, 3)}
    return reference


def drawn(count: int, seed: int) -> Pieces:
    """Yield clips of the embedded world, each as its own video."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        yield world.render(world.sample_scene(rng), DRAWN_FRAMES), f"drawn {n}"


def filmed(folder: Path, skip: list[str]) -> Pieces:
    """Yield the videos of a folder in pieces, cropped to the central square to keep their aspect ratio."""
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and p.name not in skip):
        reader, frames = cv2.VideoCapture(str(path)), []
        while (read := reader.read())[0]:
            frames.append(_middle_square(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)))
            if len(frames) == PIECE_FRAMES:
                yield np.stack(frames), path.name
                frames = []
        if len(frames) >= LEAST_FRAMES:
            yield np.stack(frames), path.name


def _middle_square(frame: np.ndarray) -> np.ndarray:
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return frame[top : top + side, left : left + side]


if __name__ == "__main__":
    main()
