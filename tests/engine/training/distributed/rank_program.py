"""What each process of a distributed test runs: `python rank_program.py JOBS.json`, a list of trainings in turn.

A job is {"kind": "dpo" | "grpo" | "nft" | "distill", "model": folder, "out": folder, "resume": checkpoint | null,
"settings": fields of the config}. The first process leaves in `out` the trained weights in one piece, what was logged
and the exported adapter; each process says in rank-<n>.json which clips it made.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from engine.families.ltx import LTXFamily
from engine.families.wan import WanFamily
from engine.training.distributed.checkpoint import gather_full_weights
from engine.training.distributed.process_group import is_first, process_group, rank, world_size
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.trainer_settings import VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from rewards.clip import Clip

SHAPE: dict[str, Any] = {"num_frames": 9, "width": 32, "height": 32, "fps": 8.0, "num_steps": 3, "guidance": 1.0}
PLAIN: dict[str, Any] = {"use_cpu": True, "logging_steps": 1, "save_strategy": "no", "seed": 3, "max_steps": 1}
PLAIN |= {"disable_tqdm": True, "lr_scheduler_type": "constant", "lora_rank": 4, **SHAPE}
PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
FAMILIES = {"ltx": LTXFamily, "wan": WanFamily}


def pairs() -> list[dict[str, Any]]:
    clips = np.random.default_rng(0).integers(0, 255, (2, 8, 9, 32, 32, 3), np.uint8)
    clips[0] //= 2
    sides = zip(*clips, strict=True)
    return [{"prompt": PROMPTS[i % 4], "chosen": good, "rejected": bad} for i, (good, bad) in enumerate(sides)]


class Brightness:
    """A reward that remembers what it was shown."""

    __name__ = "brightness"

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def __call__(self, prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float]:
        self.seen.append([*prompts])
        return [float(clip.frames.mean()) / 255 for clip in completions]


def build(job: dict[str, Any], reward: Brightness) -> Any:
    family = FAMILIES[job.get("family", "ltx")](job["model"])
    family.load("cpu", getattr(torch, job.get("dtype", "float32")))
    settings = {**PLAIN, "output_dir": job["out"], **job["settings"]}
    match job["kind"]:
        case "dpo":
            return VideoDPOTrainer(model=family, args=VideoDPOConfig(**settings), train_dataset=pairs())
        case "distill":
            return VideoDistillTrainer(model=family, args=VideoDistillConfig(**settings), train_dataset=PROMPTS)
        case "grpo":
            args = VideoGRPOConfig(**settings)
            return VideoGRPOTrainer(model=family, reward_funcs=[reward], args=args, train_dataset=PROMPTS)
        case _:
            args = VideoNFTConfig(**settings)
            return VideoNFTTrainer(model=family, reward_funcs=[reward], args=args, train_dataset=PROMPTS)


def made_last(trainer: Any) -> list[tuple[str, int]]:
    """Prompt and seed of each clip that this process made last; none for a trainer that makes none."""
    if isinstance(trainer, VideoDistillTrainer):
        rollouts = trainer._rollouts
    else:
        buffer = getattr(trainer, "buffer", [])
        rollouts = buffer[0].rollouts if buffer else None
    return [(request.prompt, request.seed) for request in rollouts.requests] if rollouts else []


def run(job: dict[str, Any]) -> None:
    out, reward = Path(job["out"]), Brightness()
    out.mkdir(parents=True, exist_ok=True)
    trainer = build(job, reward)
    trainer.train(resume_from_checkpoint=job.get("resume"))
    told = {
        "clips": made_last(trainer),
        "seen": reward.seen,
        "sharded": any(isinstance(one, DTensor) for one in trainer.family.network.parameters()),
    }
    (out / f"rank-{rank()}.json").write_text(json.dumps({**told, "world": world_size()}))
    weights = gather_full_weights(trainer.family.network)
    trainer.export(out / "exported")
    if is_first():
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, out / "weights.safetensors")
        (out / "log.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*returned a view tensor.*")
    with process_group():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            run(job)
