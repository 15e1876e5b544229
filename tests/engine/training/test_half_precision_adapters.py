"""Adapters on half-precision models: gradients that do not vanish, and initial weights that are not rounded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback

from engine.errors import ConfigError
from engine.families.ltx import LTXFamily
from engine.training.clip_settings import VideoSFTConfig
from engine.training.trainers.sft import VideoSFTTrainer
from engine.training.weights import trainable

OF_A_LARGE_CLIP = 1e-6
"""A factor of the loss: the gradient of a mean over 1e6 times as many elements, which float16 cannot hold."""


@pytest.fixture
def half(tiny_model: str, tmp_path: Path) -> str:
    file = tmp_path / "presets" / "models" / f"{tiny_model}.toml"
    file.with_stem("half").write_text(file.read_text().replace('"float32"', '"float16"'))
    return "half"


def make(model: Any, folder: Path, start: Path | None = None, **settings: Any) -> VideoSFTTrainer:
    clips = np.random.default_rng(0).integers(0, 255, (2, 9, 32, 32, 3), np.uint8)
    rows = [{"prompt": "a blue square", "chosen": clip} for clip in clips]
    given = {"lora_rank": 4, "per_device_train_batch_size": 2, "seed": 1, "disable_tqdm": True, **settings}
    return VideoSFTTrainer(model, VideoSFTConfig(output_dir=str(folder), use_cpu=True, **given), rows, start=start)


def gradient(model: str, folder: Path, factor: float) -> Tensor:
    """Of the LoRA's factors that begin at zero, in one row."""
    trainer = make(model, folder)
    for part in trainer.losses(trainer.train_dataset):
        (factor * part).backward()
    found = [w.grad.flatten() / factor for name, w in trainable(trainer.family.network) if "lora_B" in name]  # type: ignore[union-attr]
    return torch.cat(found)


def test_the_direction_of_the_gradient_does_not_depend_on_the_size_of_the_clip(
    half: str, tiny_model: str, tmp_path: Path
) -> None:
    wanted = gradient(tiny_model, tmp_path / "whole", 1.0)
    found = gradient(half, tmp_path / "half", OF_A_LARGE_CLIP)
    assert torch.cosine_similarity(wanted, found, dim=0) > 0.99
    assert 0.95 < found.norm() / wanted.norm() < 1.05


def test_a_float16_model_that_is_loaded_already_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    family = LTXFamily(str(tiny_folder))
    family.load("cpu", torch.float16)
    with pytest.raises(ConfigError, match="gradients of an adapter would vanish in float16: load the model in bfloat"):
        make(family, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_an_initial_adapter_is_trained_from_its_own_numbers(
    dtype: torch.dtype, tiny_folder: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    """Not from those that the model's type would round them to; the reference has them too."""
    family = LTXFamily(str(tiny_folder))
    family.load("cpu", dtype)
    trainer = make(family, tmp_path, start=tiny_lora, lora_rank=2)
    (file,) = tiny_lora.glob("*.safetensors")
    wanted = sorted(float(tensor.double().sum()) for tensor in load_file(file).values())
    for weights in (dict(trainable(trainer.family.network)), trainer.reference._copy.values):  # type: ignore[union-attr]
        assert sorted(float(weight.detach().double().sum()) for weight in weights.values()) == wanted


def test_an_extended_run_has_the_learning_rate_of_its_new_end(tiny_model: str, tmp_path: Path) -> None:
    """Also at its first update: the checkpoint has the rate of the old end, which is 0."""
    rates: list[float] = []

    class Hear(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    for steps in (2, 4):
        trainer = make(tiny_model, tmp_path, max_steps=steps, save_steps=2, learning_rate=1.0)
        trainer.add_callback(Hear())
        trainer.train(resume_from_checkpoint=steps > 2)
    assert rates == pytest.approx([1.0, 0.5, 0.5, 0.25])
