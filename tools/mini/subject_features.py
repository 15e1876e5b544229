"""Train the embedded subject network of the rewards.

    python -m tools.mini.subject_features [--steps 1200] [--seed 0]

Takes about 2 minutes on one core. Draws single frames of the world, cuts the subject out by a box with the errors of a
detector, changes brightness, sharpness and noise at random, and trains the network (rewards/networks/mini_subject.py)
to identify the subject: one of 6 shapes in 8 colours. Writes `assets/reward_nets/mini_subject.safetensors` (float16)
and `mini_subject.json` (seed, command, accuracy).
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from engine.mini import world
from rewards.networks.mini_subject import SIDE_PX, WIDTH, MiniSubject
from rewards.weights.assets import ASSETS

log = logging.getLogger(__name__)

FOLDER = ASSETS / "reward_nets"
DRAWN, HELD_OUT = 4000, 600
BATCH, PEAK_RATE, COSINE_SCALE = 64, 3e-3, 16.0
LATEST_FRAME = 40
MARGIN = 1.3  # of the cut-out around a subject
COLOURS = tuple(world.COLOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A frame `uint8[64,64,3]`, the place of its subject (centre x, y and radius in px), and its number."""

    picture: np.ndarray
    place: np.ndarray
    subject: int


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    network = train(options.steps, options.seed)
    notes = {
        "command": f"python -m tools.mini.subject_features --steps {options.steps} --seed {options.seed}",
        "seed": options.seed,
        "steps": options.steps,
        "cpu_seconds": round(time.process_time() - start),
        "parameters": sum(p.numel() for p in network.parameters()),
        "held_out": measure(network, options.seed + 1),
    }
    log.info(json.dumps(notes, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.half() for key, value in network.state_dict().items()}
    save_file(tensors, options.out / "mini_subject.safetensors")
    (options.out / "mini_subject.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf8")


def train(steps: int, seed: int) -> MiniSubject:
    """Train with a softmax over the cosines to one learned direction per subject."""
    torch.manual_seed(seed)
    rng, network = np.random.default_rng(seed), MiniSubject()
    shown = [draw(rng, held_out=False) for _ in range(DRAWN)]
    directions = nn.Parameter(torch.randn(len(world.SHAPES) * len(COLOURS), WIDTH))
    optimiser = torch.optim.AdamW([*network.parameters(), directions], lr=PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        batch = [shown[n] for n in rng.integers(len(shown), size=BATCH)]
        logits = COSINE_SCALE * network(_cut_outs(batch, rng)) @ F.normalize(directions, dim=1).T
        loss = F.cross_entropy(logits, torch.tensor([one.subject for one in batch]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("%d %.3f", step, loss.item())
    return network.eval()


@torch.inference_mode()
def measure(network: MiniSubject, seed: int) -> dict[str, float]:
    """Return the median cosines of cut-outs of the same and of different subjects, and the ROC area."""
    rng = np.random.default_rng(seed)
    shown = [draw(rng, held_out=True) for _ in range(HELD_OUT)]
    vectors = network(_cut_outs(shown, rng))
    cosines = (vectors @ vectors.T).numpy()
    numbers = np.array([one.subject for one in shown])
    pairs = np.triu_indices(HELD_OUT, 1)
    same = numbers[pairs[0]] == numbers[pairs[1]]
    alike, unlike = cosines[pairs][same], cosines[pairs][~same]
    area = float((alike[:, None] > rng.choice(unlike, 2000)).mean())
    found = {"same": float(np.median(alike)), "other": float(np.median(unlike)), "roc_auc": area}
    return {key: round(value, 4) for key, value in found.items()}


def draw(rng: np.random.Generator, held_out: bool) -> Shown:
    """Draw a frame of a scene that shows the centre of its first subject."""
    while True:
        scene, t = world.sample_scene(rng, held_out), int(rng.integers(LATEST_FRAME))
        first = scene.subjects[0]
        place = world.track(scene, first, t + 1)[t]
        if (place[:2] > 4).all() and (place[:2] < world.SIZE_PX - 4).all():
            break
    picture = world.render(scene, t + 1, np.array([t]))[0]
    subject = world.SHAPES.index(first.shape) * len(COLOURS) + COLOURS.index(first.colour)
    return Shown(picture=picture, place=place, subject=subject)


def spoil(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the brightness, and at random blur the picture and add noise."""
    spoilt = picture.astype(np.float32) * rng.uniform(0.8, 1.2)
    if rng.random() < 0.4:
        spoilt = cv2.GaussianBlur(spoilt, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.4:
        spoilt = spoilt + rng.normal(0, rng.uniform(2, 20), spoilt.shape)
    return np.clip(np.rint(spoilt), 0, 255).astype(np.uint8)


def _cut_outs(shown: list[Shown], rng: np.random.Generator) -> Tensor:
    """Return cut-outs of the subjects, `float32[N,3,48,48]` in [-1, 1]."""
    cut = np.stack([_cut_out(one, rng) for one in shown])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1


def _cut_out(shown: Shown, rng: np.random.Generator) -> np.ndarray:
    (x, y), radius = shown.place[:2] + rng.normal(0, 0.12, 2) * shown.place[2], shown.place[2]
    scale = SIDE_PX / (2 * MARGIN * radius * rng.uniform(0.85, 1.2))
    move = np.array([[scale, 0, SIDE_PX / 2 - scale * x], [0, scale, SIDE_PX / 2 - scale * y]])
    size = (SIDE_PX, SIDE_PX)
    return spoil(cv2.warpAffine(shown.picture, move, size, borderMode=cv2.BORDER_REPLICATE), rng)


if __name__ == "__main__":
    main()
