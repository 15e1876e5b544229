"""DPO and IPO on mini, with the judge as the person who votes: one vote in ten is the wrong way round.

Pairs are of training prompts; what is claimed is how often the judge prefers the trained model to the base on prompts
that were not trained on. It is the one proof in which the judge has a say in training, so rewards that had none are
reported beside it.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from honest_rewards import moves_as_asked, shows_colour
from proving import Proof, held_out, interval, judged, make, mean, open_mini, options, requests, rows_of

from engine.config.presets import read_prompts
from engine.training.config import VideoDPOConfig
from engine.training.dpo_trainer import VideoDPOTrainer
from engine.training.own_pairs import best_and_worst
from rewards.clip import Clip

SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
WRONG = 0.1
FLOORS = {"sigmoid": 0.7, "ipo": 0.65}


def votes(clips: Sequence[Clip], takes: int, seed: int) -> list[dict[str, Any]]:
    """Best against worst of each prompt as the judge sees it, one in ten turned round."""
    rng, rows = np.random.default_rng(seed), []
    for start in range(0, len(clips), takes):
        group = clips[start : start + takes]
        choice = best_and_worst(judged(group), 0.1)
        if choice is None:
            continue
        sides = [group[choice.best].frames, group[choice.worst].frames]
        if rng.random() < WRONG:
            sides.reverse()
        rows.append({"prompt": group[0].prompt, "chosen": sides[0], "rejected": sides[1]})
    return rows


def win_rate(before: Sequence[float | None], after: Sequence[float | None]) -> float:
    """How often the judge prefers the later clip; the same score is half a win."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    return float(np.mean([0.5 if abs(b - a) < 1e-3 else float(b > a) for a, b in pairs]))


def prove(loss: str, proof: Proof, rows: list[dict[str, Any]], short: bool, seed: int) -> None:
    family = open_mini()
    wanted = requests(held_out(8 if short else 64), 1 if short else 2, **SHAPE)
    before, _ = make(family, wanted)
    with tempfile.TemporaryDirectory() as folder:
        args = VideoDPOConfig(
            output_dir=folder,
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=5,
            loss_type=[loss],
            beta=0.2,
            error_scale=2_500.0 if loss == "sigmoid" else 100.0,
            learning_rate=5e-4,
            lr_scheduler_type="cosine",
            lora_rank=32,
            ema_decay=0.0 if short else 0.95,
            max_steps=4 if short else 150,
            per_device_train_batch_size=8 if short else 32,
            seed=seed,
            **SHAPE,
        )
        trainer = VideoDPOTrainer(model=family, args=args, train_dataset=rows)
        trainer.train()
    rows_of(trainer, proof, "loss", "rewards/margins", "rewards/accuracies")
    with trainer.copies["average"].in_place() if "average" in trainer.copies else nullcontext():
        after, _ = make(family, wanted)
    sides = judged(before), judged(after)
    proof.claim(
        f"{loss}: the judge prefers the trained model on held-out prompts",
        win_rate(*sides),
        floor=0 if short else FLOORS[loss],
        judge_before=round(mean(sides[0]), 4),
        judge_after=round(mean(sides[1]), 4),
        **interval(*sides, before),
    )
    for reward in (shows_colour, moves_as_asked):
        both = [reward([clip.prompt for clip in clips], clips) for clips in (before, after)]
        proof.say("besides", loss=loss, reward=reward.__name__, **interval(*both, before))


def main() -> int:
    chosen = options(__doc__ or "")
    proof, short, takes = Proof("dpo"), chosen.short, 2 if chosen.short else 6
    clips, _ = make(open_mini(), requests(read_prompts("mini")[: 8 if short else None], takes, **SHAPE))
    rows = votes(clips, takes, chosen.seed)
    proof.say("pairs", count=len(rows), clips=len(clips), wrong=WRONG)
    for loss in ("sigmoid", "ipo"):
        prove(loss, proof, rows, short, chosen.seed)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
