"""HunyuanVideo trains under every algorithm, with the guidance that its network takes."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.training.prompt_settings import VideoDistillConfig
from engine.training.trainer_settings import VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable

PROMPTS = ["a red circle", "a blue square"]
GROUPS = {"num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_steps": 4}
PASSES = {"per_device_train_batch_size": 2, "num_steps": 4, "student_steps": 2, "rollout_clips": 2, "rollout_batch": 2}
TRAINERS: dict[str, tuple[Any, Any, dict[str, Any], float]] = {
    "grpo": (VideoGRPOTrainer, VideoGRPOConfig, GROUPS, 6.0),
    "nft": (VideoNFTTrainer, VideoNFTConfig, GROUPS | {"guidance": 1.0}, 1.0),
    "dpo": (VideoDPOTrainer, VideoDPOConfig, {"per_device_train_batch_size": 1}, 6.0),
    "distill": (VideoDistillTrainer, VideoDistillConfig, PASSES, 1.0),
}
"""Trainer, config, settings, and the guidance of trained passes. NFT and a student are trained without any."""


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def data_of(kind: str, shape: Any) -> dict[str, Any]:
    if kind == "dpo":
        size = (2, shape.num_frames, shape.height, shape.width, 3)
        frames = np.random.default_rng(0).integers(0, 255, size, np.uint8)
        return {"train_dataset": [{"prompt": PROMPTS[0], "chosen": frames[0], "rejected": frames[1]}]}
    return {"train_dataset": PROMPTS} if kind == "distill" else {"train_dataset": PROMPTS, "reward_funcs": brightness}


@pytest.mark.parametrize("kind", TRAINERS)
@pytest.mark.parametrize("tiny", ["hunyuanvideo"], indirect=True)
def test_two_updates_with_the_guidance_of_the_preset(kind: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    trainer_class, config_class, settings, guidance = TRAINERS[kind]
    shape = {name: getattr(tiny.model.request, name) for name in ("num_frames", "width", "height", "fps")}
    plain = {"use_cpu": True, "disable_tqdm": True, "report_to": "none", "save_strategy": "no", "logging_steps": 1}
    args = config_class(
        output_dir=str(tmp_path),
        max_steps=2,
        lora_rank=2,
        learning_rate=1e-3,
        **plain,
        **shape,
        **{"guidance": 6.0, **settings},
    )
    trainer = trainer_class(model=tiny.open(), args=args, **data_of(kind, tiny.model.request))
    told: list[float] = []

    def hear(network: Any, inputs: Any, named: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            told.append(float(named["guidance"][0]) / 1000)

    trainer.family.network.register_forward_pre_hook(hear, with_kwargs=True)
    before = {name: value.detach().clone() for name, value in trainable(trainer.family.network)}
    trainer.train()
    assert trainer.state.global_step == 2
    assert set(told) == {guidance}
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and np.isfinite(losses).all()
    moved = [name for name, value in trainable(trainer.family.network) if (value != before[name]).any()]
    assert len(moved) > len(before) / 2
