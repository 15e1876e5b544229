"""Train the seam critic on artificial seams in procedural clips, and measure its accuracy.

    python -m tools.rewards.train_seam_critic [--clips 300] [--seed 0]

About 10 minutes on one core. Writes `assets/seam_critic/seam_critic.npz` (the weights) and `seam_critic.json` (seed,
command, areas under the ROC curve of the critic and of the plain z-scores, on held-out procedural and on real clips).
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rewards.clip import Clip
from rewards.features import ClipFeatures
from rewards.matrix.reference_clips import read_reference
from rewards.metrics.seam import NEAR_FRAMES, joined_z, jump_scores
from rewards.networks.seam_critic import PATH, Critic, critic_inputs, critic_log_odds
from tools.rewards.procedural import draw_clip
from tools.rewards.seams import MAKERS, blend

NUM_FRAMES, SIDE_PX = 49, 64
SEAMS_A_CLIP = 2
HIDDEN = 16
log = logging.getLogger(__name__)

Example = tuple[np.ndarray, int, bool]
"""Jump scores `float64[5,T-1]`, the frame of the possible seam, and True if there is one."""


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=300, help="procedural clips to draw (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    drawn = [Clip(frames=draw_clip(rng, NUM_FRAMES, SIDE_PX), fps=8) for _ in range(options.clips)]
    examples = [list(examples_of(clip, rng)) for clip in drawn]
    held_out = options.clips // 5
    critic = train([e for clip in examples[held_out:] for e in clip], options.seed)
    metrics = {"procedural": measure(critic, [e for clip in examples[:held_out] for e in clip])}
    for domain in ("real", "mini"):
        reference = read_reference(domain).values()
        metrics[domain] = measure(critic, [e for clip in reference for e in examples_of(clip, rng, seams=8)])
    save(critic, PATH, {"seed": options.seed, "clips": options.clips, "roc_auc": metrics})
    log.info(json.dumps(metrics, indent=2))


def examples_of(clip: Clip, rng: np.random.Generator, seams: int = SEAMS_A_CLIP) -> Iterator[Example]:
    """Yield examples of a clip with seams of different makers, and without, at the same frames."""
    clean = ClipFeatures(clip)
    for maker in rng.choice(list(MAKERS), size=seams, replace=seams > len(MAKERS)):
        at = int(rng.integers(16, clip.num_frames - 16))
        overlap = int(rng.choice([1, 2, 4, 8]))
        broken = blend(clip.frames, MAKERS[maker](clip.frames, at, rng), at, overlap)
        features = ClipFeatures(Clip(frames=broken, fps=clip.fps))
        yield jump_scores(features, [at]), at, True
        yield jump_scores(clean, [at]), at, False


def train(examples: list[Example], seed: int) -> Critic:
    """Train with a logistic loss on the highest logit near each place.

    Weight decay replaces early stopping.
    """
    import torch

    torch.manual_seed(seed)
    inputs = torch.tensor(np.stack([_near_inputs(scores, at) for scores, at, _ in examples]), dtype=torch.float32)
    labels = torch.tensor([float(seam) for _, _, seam in examples])
    model = torch.nn.Sequential(torch.nn.Linear(inputs.shape[-1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.03)
    for _ in range(600):
        logits = model(inputs).squeeze(-1).amax(dim=1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    w1, b1, w2, b2 = (p.detach().numpy() for p in model.parameters())
    return Critic(w1=w1.T, b1=b1, w2=w2[0], b2=b2)


def measure(critic: Critic, examples: list[Example]) -> dict[str, float]:
    """Return the area under the ROC curve of the critic and of the root mean square of the z-scores."""
    labels = np.array([seam for _, _, seam in examples])
    by_critic = [critic_log_odds(critic, scores)[_near(scores, at)].max() for scores, at, _ in examples]
    by_z = [joined_z(scores)[_near(scores, at)].max() for scores, at, _ in examples]
    return {
        "critic": roc_auc(np.array(by_critic), labels),
        "z": roc_auc(np.array(by_z), labels),
        "examples": len(examples),
    }


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of pairs (seam, no seam) in which the seam scores higher; ties count half."""
    yes, no = scores[labels][:, None], scores[~labels][None]
    return round(float((yes > no).mean() + 0.5 * (yes == no).mean()), 4)


def save(critic: Critic, path: Path, record: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: getattr(critic, name).astype(np.float32) for name in ("w1", "b1", "w2", "b2")}
    np.savez(path, **weights)
    record = {"command": "python -m tools.rewards.train_seam_critic", "licence": "Apache-2.0", **record}
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def _near(scores: np.ndarray, at: int) -> slice:
    return slice(max(0, at - 1 - NEAR_FRAMES), min(scores.shape[1], at + NEAR_FRAMES))


def _near_inputs(scores: np.ndarray, at: int) -> np.ndarray:
    """Return the inputs of the critic at the steps near frame `at`."""
    return critic_inputs(scores)[_near(scores, at)]


if __name__ == "__main__":
    main()
