"""Train the embedded video network of the rewards.

    python -m tools.mini.video_features [--steps 600] [--seed 0]

Takes about 4 minutes on one core. The network (rewards/networks/mini_video.py) predicts shape, colour, motion,
background and damage of 16-frame stretches of drawn clips, half of them damaged; and which of the 48 subjects two
cut-outs show. Writes `assets/reward_nets/mini_video.safetensors` (float16) and `mini_video.json` (seed, command,
accuracy on held-out combinations).
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from engine.mini import world
from rewards.networks.mini_video import CONTENT_WIDTH, CROP_FRAMES, TRUNK, MiniVideo
from rewards.weights.assets import ASSETS
from tools.mini.damage import DAMAGES, damage

log = logging.getLogger(__name__)

FOLDER = ASSETS / "reward_nets"
BATCH = 16
LONGEST_START = 24  # a stretch begins within the first 24 frames
DAMAGED_SHARE = 0.5
UNORDERED = {"shuffle", "frozen", "cut"}  # damages that make the motion unknown
SUBJECT_PX, SUBJECT_WIDTH = 48, 32
MARGIN = 1.3  # of the cut-out around a subject
COSINE_SCALE = 16.0
HEADS = {
    "shape": len(world.SHAPES),
    "colour": len(world.COLOURS),
    "motion": len(world.MOTIONS),
    "background": len(world.BACKGROUNDS),
    "damage": len(DAMAGES),
}
UNKNOWN = -100  # cross_entropy leaves these out
PEAK_RATE = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training example.

    `crop` is uint8[16,64,64,3] with `labels` by head, `cut_outs` uint8[2,48,48,3] shows the subject number `subject`.
    """

    crop: np.ndarray
    labels: dict[str, int]
    cut_outs: np.ndarray
    subject: int


class Student(nn.Module):
    """The network with its training heads; only the network is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MiniVideo()
        self.heads = nn.ModuleDict({name: nn.Linear(CONTENT_WIDTH, count) for name, count in HEADS.items()})
        self.embed = nn.Linear(TRUNK[-1], SUBJECT_WIDTH, bias=False)
        self.subjects = nn.Parameter(torch.randn(HEADS["shape"] * HEADS["colour"], SUBJECT_WIDTH))

    def forward(self, crops: Tensor, cut_outs: Tensor) -> dict[str, Tensor]:
        """Return logits of each head for `uint8[B,16,64,64,3]`, and of `subject` for `uint8[M,48,48,3]`."""
        described, _ = self.network(_scaled(crops).permute(0, 4, 1, 2, 3))
        found = {name: head(described) for name, head in self.heads.items()}
        seen = self.network.maps(_scaled(cut_outs).permute(0, 3, 1, 2))[-1].mean(dim=(2, 3))
        found["subject"] = COSINE_SCALE * F.normalize(self.embed(seen), dim=1) @ F.normalize(self.subjects, dim=1).T
        return found


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    student = train(options.steps, options.seed)
    cpu_s = time.process_time() - start
    measured = measure(student, np.random.default_rng(options.seed + 1))
    log.info(json.dumps(measured, indent=1))
    notes = {
        "command": f"python -m tools.mini.video_features --steps {options.steps} --seed {options.seed}",
        "seed": options.seed,
        "steps": options.steps,
        "cpu_seconds": round(cpu_s),
        "parameters": sum(p.numel() for p in student.network.parameters()),
        "held_out_accuracy": measured,
    }
    save(student.network, options.out, notes)


def train(steps: int, seed: int) -> Student:
    """Train on new examples in each step, with one cycle of the learning rate."""
    torch.manual_seed(seed)
    rng, student = np.random.default_rng(seed), Student()
    optimiser = torch.optim.AdamW(student.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        batch = [draw_example(rng, held_out=False) for _ in range(BATCH)]
        losses = losses_of(student, batch)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            log.info("%d %s", step, " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items()))
    return student.eval()


def losses_of(student: Student, batch: list[Example]) -> dict[str, Tensor]:
    logits = student(*_tensors(batch))
    targets = {name: torch.tensor([e.labels[name] for e in batch]) for name in HEADS}
    targets["subject"] = torch.tensor([e.subject for e in batch]).repeat_interleave(2)
    return {name: F.cross_entropy(found, targets[name], ignore_index=UNKNOWN) for name, found in logits.items()}


@torch.inference_mode()
def measure(student: Student, rng: np.random.Generator, count: int = 480) -> dict[str, float]:
    """Return the accuracy of each head on held-out combinations."""
    right: dict[str, list[bool]] = {name: [] for name in (*HEADS, "subject")}
    for batch in _batches([draw_example(rng, held_out=True) for _ in range(count)]):
        said = {name: logits.argmax(1).tolist() for name, logits in student(*_tensors(batch)).items()}
        for name in HEADS:
            pairs = zip(said[name], (e.labels[name] for e in batch), strict=True)
            right[name] += [answer == label for answer, label in pairs if label != UNKNOWN]
        right["subject"] += [a == e.subject for a, e in zip(said["subject"][::2], batch, strict=True)]
    return {name: round(float(np.mean(answers)), 4) for name, answers in right.items()}


def draw_example(rng: np.random.Generator, held_out: bool | None) -> Example:
    """Draw a stretch of a clip with one subject, damaged or intact, and two cut-outs of its subject."""
    while True:
        scene = world.sample_scene(rng, held_out)
        if len(scene.shown) == 1:
            break
    start = int(rng.integers(LONGEST_START))
    frames = world.render(scene, start + CROP_FRAMES)
    kind = str(rng.choice(DAMAGES[1:])) if rng.random() < DAMAGED_SHARE else DAMAGES[0]
    other = world.render(world.sample_scene(rng), CROP_FRAMES) if kind == "cut" else frames
    crop = damage(kind, frames[start:], other, rng)
    if np.array_equal(crop, frames[start:]):  # freezing a still scene changes nothing
        kind = DAMAGES[0]
    first = scene.subjects[0]
    shape, colour = world.SHAPES.index(first.shape), list(world.COLOURS).index(first.colour)
    labels = {
        "shape": shape,
        "colour": colour,
        "motion": UNKNOWN if kind in UNORDERED else world.MOTIONS.index(scene.motion),
        "background": world.BACKGROUNDS.index(scene.background),
        "damage": DAMAGES.index(kind),
    }
    return Example(
        crop=crop,
        labels=labels,
        cut_outs=cut_outs(frames, world.track(scene, first, len(frames)), rng),
        subject=shape * len(world.COLOURS) + colour,
    )


def cut_outs(frames: np.ndarray, path: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the subject out at two times, `uint8[2,48,48,3]`, from boxes with the errors of a detector.

    `path` is `float64[T,3]`: centre x, y and radius in px. Frames that show the centre of the subject are preferred.
    """
    inside = np.flatnonzero(((path[:, :2] > 4) & (path[:, :2] < world.SIZE_PX - 4)).all(axis=1))
    times = rng.choice(inside if len(inside) else np.arange(len(frames)), 2)
    return np.stack([_cut_out(frames[t], path[t], rng) for t in times])


def save(network: MiniVideo, folder: Path, notes: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file(tensors, folder / "mini_video.safetensors")
    (folder / "mini_video.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf8")


def _cut_out(frame: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    (x, y), radius = place[:2] + rng.normal(0, 0.12, 2) * place[2], place[2]
    reach = MARGIN * radius * rng.uniform(0.85, 1.2)
    scale = SUBJECT_PX / (2 * reach)
    move = np.array([[scale, 0, SUBJECT_PX / 2 - scale * x], [0, scale, SUBJECT_PX / 2 - scale * y]])
    return cv2.warpAffine(frame, move, (SUBJECT_PX, SUBJECT_PX), borderMode=cv2.BORDER_REPLICATE)


def _tensors(batch: list[Example]) -> tuple[Tensor, Tensor]:
    crops = torch.from_numpy(np.stack([e.crop for e in batch]))
    return crops, torch.from_numpy(np.concatenate([e.cut_outs for e in batch]))


def _batches(examples: list[Example]) -> Iterator[list[Example]]:
    return (examples[n : n + BATCH] for n in range(0, len(examples), BATCH))


def _scaled(pictures: Tensor) -> Tensor:
    return pictures.float() / 127.5 - 1


if __name__ == "__main__":
    main()
