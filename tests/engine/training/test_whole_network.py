"""Training the whole network of a half-precision model: float32 weights that compute in bfloat16."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.errors import FamilyError
from engine.families.ltx import LTXFamily
from engine.family_interface import FamilyOptions
from engine.runs.run import Run
from engine.seeds import generator_for
from engine.training.main import Recorder, train
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.trainer_settings import VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable
from engine.workspace import Workspace
from rewards.clip import Clip

PROMPTS = ["a red circle moving left", "a blue square"]
PLAIN: dict[str, Any] = {
    "use_cpu": True,
    "logging_steps": 1,
    "save_steps": 2,
    "seed": 3,
    "max_steps": 2,
    "lora_rank": 0,
}
PLAIN |= {"disable_tqdm": True, "lr_scheduler_type": "constant", "num_frames": 9, "width": 32, "height": 32, "fps": 8.0}
PLAIN |= {"num_steps": 2, "guidance": 1.0, "learning_rate": 1e-3}
ONLINE = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_generations": 2}
HALVES = [torch.bfloat16, torch.float16]


def brightness(prompts: Sequence[str], completions: Sequence[Clip], **kwargs: Any) -> list[float | None]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def pairs() -> list[dict[str, Any]]:
    clips = np.random.default_rng(0).integers(0, 255, (2, 2, 9, 32, 32, 3), np.uint8)
    return [{"prompt": p, "chosen": a, "rejected": b} for p, a, b in zip(PROMPTS, *clips, strict=True)]


def opened(folder: Path, dtype: torch.dtype, **parts: str) -> Any:
    family = LTXFamily(str(folder), FamilyOptions(parts=parts))
    family.load("cpu", dtype)
    return family


def make(kind: str, family: Any, folder: Path, **others: Any) -> Any:
    plain = {**PLAIN, "output_dir": str(folder), **others}
    if kind == "dpo":
        args = VideoDPOConfig(**plain, per_device_train_batch_size=2)
        return VideoDPOTrainer(model=family, ref_model=None, args=args, train_dataset=pairs())
    if kind == "distill":
        few = {"student_steps": 1, "rollout_clips": 2, "steps_per_rollout": 1, "per_device_train_batch_size": 2}
        return VideoDistillTrainer(model=family, args=VideoDistillConfig(**plain, **few), train_dataset=PROMPTS)
    if kind == "grpo":
        grpo = VideoGRPOConfig(**plain, **ONLINE)
        return VideoGRPOTrainer(model=family, reward_funcs=[brightness], args=grpo, train_dataset=PROMPTS)
    nft = VideoNFTConfig(**plain, **ONLINE)
    return VideoNFTTrainer(model=family, reward_funcs=[brightness], args=nft, train_dataset=PROMPTS)


def weights_of(trainer: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


def velocity(family: Any) -> Tensor:
    noise = torch.randn(1, 8, 2, 2, 2, generator=generator_for(5))
    with torch.no_grad():
        return family.predict(noise, torch.tensor([0.5]), replace(family.encode([PROMPTS[0]]), fps=8.0))


@pytest.mark.parametrize("dtype", [HALVES[0], pytest.param(HALVES[1], marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("kind", ["dpo", "grpo", "nft", "distill"])
def test_it_trains_and_makes_a_model(tiny_folder: Path, tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    trainer = make(kind, opened(tiny_folder, dtype), tmp_path / "run")
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in after.values())
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(after)
    trainer.export(tmp_path / "network")
    family = opened(tiny_folder, dtype, transformer=str(tmp_path / "network"))
    assert family.network.dtype == dtype
    wanted, base = velocity(trainer.family), velocity(opened(tiny_folder, dtype))
    assert (velocity(family) - wanted).abs().max() < 0.2 * (wanted - base).abs().max()


@pytest.mark.parametrize("dtype", [HALVES[0], pytest.param(HALVES[1], marks=pytest.mark.slow)], ids=str)
def test_a_resumed_run_is_the_run(tiny_folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    whole = make("dpo", opened(tiny_folder, dtype), tmp_path / "whole", max_steps=4)
    whole.train()
    make("dpo", opened(tiny_folder, dtype), tmp_path / "parts", max_steps=2).train()
    resumed = make("dpo", opened(tiny_folder, dtype), tmp_path / "parts", max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    wanted = weights_of(whole)
    assert all(torch.equal(wanted[name], value) for name, value in weights_of(resumed).items())


def test_small_updates_are_not_lost(tiny_folder: Path, tmp_path: Path) -> None:
    """At a learning rate of 1e-5 a weight near 1 has no next bfloat16 value that near."""
    trainer = make("dpo", opened(tiny_folder, torch.bfloat16), tmp_path, learning_rate=1e-5)
    before = weights_of(trainer)
    trainer.train()
    steps = torch.cat([(value - before[name]).abs().flatten() for name, value in weights_of(trainer).items()])
    assert 5e-6 < steps.median() < 3e-5


def test_a_network_of_another_class_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(FamilyError, match=r"holds a AutoencoderKLLTXVideo, but the transformer of this family is"):
        opened(tiny_folder, torch.float32, transformer=str(tiny_folder / "vae"))


def test_a_run_its_export_and_a_clip_of_it(
    preset: str, space: Workspace, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model preset in bfloat16, as all that are shipped but mini."""
    models = tmp_path / "presets" / "models"
    text = (models / "tiny.toml").read_text().replace('"float32"', '"bfloat16"')
    (models / "tiny.toml").write_text(text)
    where = ["--workspace", str(space.root)]
    run = Run.create(space, load_train_preset(preset, {"settings": {"lora_rank": 0, "max_steps": 2, "save_steps": 1}}))
    assert train(run, Recorder(run))
    assert not run.has_adapter
    assert main(["export", run.id, str(tmp_path / "mine"), *where]) == 0
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"config.json", "diffusion_pytorch_model.safetensors", "resolved.json"} <= names
    (models / "mine.toml").write_text(f'{text}parts = {{ transformer = "{tmp_path / "mine"}" }}\n')
    asked = ["--frames", "9", "--width", "32", "--height", "32", "--steps", "1", "--seed", "1", *where]
    capsys.readouterr()
    assert main(["generate", "a star", "--model", "mine", *asked]) == 0, capsys.readouterr().err
    shutil.rmtree(run.adapter)
    assert main(["export", run.id, str(tmp_path / "again"), *where]) == 2
    assert "writes at its end: finish it first" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_without_half_precision_nothing_is_cast(tiny_folder: Path, tmp_path: Path) -> None:
    family = opened(tiny_folder, torch.float32)
    before = velocity(family)
    make("dpo", family, tmp_path)
    assert torch.equal(velocity(family), before)
