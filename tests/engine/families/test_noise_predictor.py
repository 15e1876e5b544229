"""Training steps on a family that predicts noise: most trainer tests run on one that predicts a flow."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.families.registry import family_class
from engine.training.preflight.checks import preflight
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.trainer_settings import (
    VideoAWMConfig,
    VideoDPOConfig,
    VideoNFTConfig,
)
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable

ONLINE: dict[str, Any] = {"num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
TRAINERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "nft": (VideoNFTTrainer, VideoNFTConfig, ONLINE),
    "dgpo": (VideoAWMTrainer, VideoAWMConfig, {**ONLINE, "weighting": "dgpo"}),
    "distill": (VideoDistillTrainer, VideoDistillConfig, {"student_steps": 2, "rollout_clips": 2, "rollout_batch": 2}),
}


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


@pytest.mark.parametrize("kind", ["nft", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("dgpo", "distill"))])
@pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)
def test_every_other_trainer_learns_from_it(kind: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    """Two updates that are finite and move the weights; test_every_algorithm has GRPO's."""
    request, (trainer_class, config_class, settings) = tiny.model.request, TRAINERS[kind]
    shape = {name: getattr(request, name) for name in ("num_frames", "width", "height", "fps")}
    args = config_class(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, report_to="none", logging_steps=1, max_steps=2,
        save_strategy="no", lr_scheduler_type="constant", learning_rate=1e-3, lora_rank=2, num_steps=4, guidance=1.0,
        **shape, **settings,
    )  # fmt: skip
    rewards = {} if kind == "distill" else {"reward_funcs": brightness}
    trainer = trainer_class(model=tiny.open(), args=args, train_dataset=["a red circle", "a blue square"], **rewards)
    told = {verdict.name: verdict for verdict in preflight(trainer)}
    assert all(verdict.level != "stop" for verdict in told.values()), told
    before = {name: value.detach().clone() for name, value in trainable(trainer.family.network)}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert any((value != before[name]).any() for name, value in trainable(trainer.family.network))


@pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)
def test_dpo_takes_a_step_with_its_blocks_recomputed(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """Levels come from the whole noise table, also if "leading" steps with an offset exceed it."""
    leading = replace(tiny.options, scheduler={**tiny.options.scheduler, "timestep_spacing": "leading"})
    request = tiny.model.request
    shape = (request.num_frames, request.height, request.width, 3)
    clips = np.random.default_rng(0).integers(0, 255, (2, 2, *shape), np.uint8)
    rows = [{"prompt": "a red circle", "chosen": one, "rejected": other} for one, other in zip(*clips, strict=True)]
    losses = []
    for on in (False, True):
        args = VideoDPOConfig(
            output_dir=str(tmp_path / str(on)),
            use_cpu=True,
            disable_tqdm=True,
            logging_steps=1,
            max_steps=2,
            save_strategy="no",
            lr_scheduler_type="constant",
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            lora_rank=2,
            num_frames=request.num_frames,
            gradient_checkpointing=on,
        )
        family = family_class("animatediff")(str(tiny.folder), leading)
        family.load("cpu", torch.float32)
        trainer = VideoDPOTrainer(model=family, args=args, train_dataset=rows)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 2
    assert losses[0][0] == pytest.approx(np.log(2), abs=1e-4) != losses[0][1]
