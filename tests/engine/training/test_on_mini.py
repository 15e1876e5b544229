"""A few updates on the embedded model raise the trained reward, also for held-out prompts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.request import GenerationRequest
from engine.training.rollout.rollouts import generate_rollouts
from engine.training.trainer_settings import VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from rewards.clip import Clip

TRAINED = ["a circle moving right on a white background", "a square standing still on a white background"]
HELD_OUT = ["a star moving left on a white background", "a heart moving up on a white background"]
SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 6, "guidance": 1.0}


def warmth(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    """Red less blue, -1..1: no prompt here names a colour, so the model is free to choose."""
    return [
        float((clip.frames[..., 0].mean() - clip.frames[..., 2].astype(float).mean()) / 255) for clip in completions
    ]


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "lr_scheduler_type": "constant",
        "num_generations": 8,
        "per_device_train_batch_size": 16,
        "advantage_scale": "group",
        "advantage_floor": 1e-3,
        "seed": 1,
        **SHAPE,
    }


def held_out_warmth(trainer: Any) -> float:
    requests = [GenerationRequest(prompt=prompt, seed=seed, **SHAPE) for prompt in HELD_OUT for seed in range(8)]
    clips = generate_rollouts(trainer.family, requests, trainer.prompts).clips
    return float(np.mean(warmth([], clips)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["nft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_what_is_rewarded_comes_out_more(
    kind: str, mini_folder: Path, open_family: Callable[[Path], Any], tmp_path: Path
) -> None:
    family, common = open_family(mini_folder), settings(tmp_path)
    if kind == "nft":
        nft = VideoNFTConfig(**common, max_steps=5, learning_rate=1e-3)
        trainer: Any = VideoNFTTrainer(model=family, reward_funcs=warmth, args=nft, train_dataset=TRAINED)
    else:
        grpo = VideoGRPOConfig(**common, max_steps=5, learning_rate=1e-3, window=2, window_every=100, epsilon=1e-2)
        trainer = VideoGRPOTrainer(model=family, reward_funcs=warmth, args=grpo, train_dataset=TRAINED)
    before = held_out_warmth(trainer)
    trainer.train()
    assert held_out_warmth(trainer) > before + 0.005
