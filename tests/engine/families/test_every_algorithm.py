"""Two updates of every algorithm with every preset's toy model: finite losses, moved weights, spread of latents."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.config.algorithms import ALGORITHMS
from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families.registry import open_model
from engine.family_interface import ModelFamily
from engine.storage.images import save_picture
from engine.training.clip_settings import VideoKTOConfig, VideoSFTConfig
from engine.training.preflight.checks import preflight
from engine.training.prompt_settings import VideoDistillConfig, VideoDMDConfig, VideoDraftConfig
from engine.training.rollout.rollouts import generate_rollouts
from engine.training.trainer_settings import VideoAWMConfig, VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dmd import VideoDMDTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.draft import VideoDraftTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.kto import VideoKTOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.trainers.sft import VideoSFTTrainer
from engine.training.weights import trainable
from engine.workspace import Workspace

PROMPTS = ["a red circle", "a blue square"]
LONG = [pytest.param(kind, marks=pytest.mark.slow) for kind in ALGORITHMS if kind != "grpo"]


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def brightness_of_pixels(frames: Tensor, prompts: Sequence[str]) -> Tensor:
    return frames.mean((1, 2, 3, 4))


brightness.of_pixels = brightness_of_pixels  # type: ignore[attr-defined]


def configured(config: Any, folder: Path, shape: Any, **settings: Any) -> Any:
    shared = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "report_to": "none", "max_steps": 2}
    shared |= {"logging_steps": 1, "save_strategy": "no", "lora_rank": 2, "learning_rate": 1e-4}
    shared |= {name: getattr(shape, name) for name in ("num_frames", "width", "height", "fps")}
    return config(**{**shared, **settings})


def test_every_preset_has_a_toy_model(doubles: dict[str, str]) -> None:
    assert set(doubles) | {"mini"} == set(preset_keys("models"))


def opened(key: str, tiny: SimpleNamespace | None) -> tuple[ModelPreset, ModelFamily]:
    """The preset with its own scheduler, guidance and options, over the toy model's folder."""
    preset = load_model_preset(key)
    if tiny is not None:
        told = {"source": str(tiny.folder), "parts": dict(tiny.options.parts), "dtype": "float32", "tile_vae": False}
        preset = ModelPreset(**{**preset.model_dump(), **told})
    return preset, open_model(preset, device="cpu")


@pytest.mark.double("algorithms", "kind")
@pytest.mark.parametrize("kind", ["grpo", *LONG])
def test_two_updates_of_every_preset(preset_key: str, tiny: SimpleNamespace, kind: str, tmp_path: Path) -> None:
    update(kind, *opened(preset_key, tiny), tiny.model.request, tmp_path)


@pytest.mark.parametrize("kind", list(ALGORITHMS))
def test_two_updates_of_mini(kind: str, tmp_path: Path) -> None:
    preset, family = opened("mini", None)
    shape = SimpleNamespace(num_frames=9, width=64, height=64, fps=8.0)
    update(kind, preset, family, shape, tmp_path)


@pytest.mark.parametrize("tiny", ["hunyuanvideo"], indirect=True)
def test_distillation_tells_the_student_no_guidance(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """HunyuanVideo's network is told the guidance: the teacher's, and 1 where the student is trained and sampled."""
    settings = {"guidance": 6.0, "num_steps": 4, "student_steps": 2, "rollout_clips": 2, "rollout_batch": 2}
    args = configured(VideoDistillConfig, tmp_path, tiny.model.request, **settings, per_device_train_batch_size=2)
    trainer = VideoDistillTrainer(model=tiny.open(), args=args, train_dataset=PROMPTS)
    told: list[tuple[bool, float]] = []

    def hear(network: Any, inputs: Any, named: dict[str, Any]) -> None:
        told.append((torch.is_grad_enabled(), float(named["guidance"][0]) / 1000))

    trainer.family.network.register_forward_pre_hook(hear, with_kwargs=True)
    trainer.train()
    assert {guidance for learns, guidance in told if learns} == {1.0}
    assert {guidance for learns, guidance in told if not learns} == {6.0}
    assert np.isfinite([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]).all()


def rows_for(family: ModelFamily, shape: Any) -> list[dict[str, Any]]:
    """The prompts, with the pictures that the family requires."""
    workspace, drawn = Workspace.from_env(), np.random.default_rng(3)
    size = (len(PROMPTS), 2, shape.height, shape.width, 3)
    names = [[save_picture(workspace, one) for one in pair] for pair in drawn.integers(0, 256, size, dtype=np.uint8)]
    required = {"image": family.spec.requires_image, "last_image": family.spec.requires_last_image}
    given = [dict(zip(required, pair, strict=True)) for pair in names]
    return [
        {"prompt": prompt, **{name: picture for name, picture in pictures.items() if required[name]}}
        for prompt, pictures in zip(PROMPTS, given, strict=True)
    ]


def trainer_of(kind: str, preset: ModelPreset, family: ModelFamily, shape: Any, folder: Path) -> Any:
    """The trainer with its own settings but for the size of its batches and its number of steps."""
    # With 4 steps LTX-Video 0.9.5's schedule falls from 0.975 to 0.725 at once, too far for a step of flow_grpo.
    num_steps = 8 if family.scheduler_config.get("_grid") == "linear_quadratic" else 4
    rows = rows_for(family, shape)
    size = (2, shape.num_frames, shape.height, shape.width, 3)
    frames = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    sampled = {"num_steps": num_steps, "per_device_train_batch_size": 2}
    online = {**sampled, "num_generations": 2, "gradient_accumulation_steps": 1}
    form = {} if family.spec.prediction == "flow" else {"sde_form": "ddim"}
    rewarded = {"reward_funcs": brightness, "train_dataset": rows}
    clips = [{**row, "chosen": clip, "label": not at} for at, (row, clip) in enumerate(zip(rows, frames, strict=True))]
    pair = {**rows[0], "chosen": frames[0], "rejected": frames[1]}
    student = {**sampled, "guidance": preset.guidance, "student_steps": 2}
    teacher = {"rollout_clips": 2, "rollout_batch": 2}
    classes: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
        "dpo": (
            VideoDPOTrainer,
            VideoDPOConfig,
            {**sampled, "per_device_train_batch_size": 1},
            {"train_dataset": [pair]},
        ),
        "kto": (VideoKTOTrainer, VideoKTOConfig, sampled, {"train_dataset": clips}),
        "sft": (VideoSFTTrainer, VideoSFTConfig, sampled, {"train_dataset": clips}),
        "grpo": (VideoGRPOTrainer, VideoGRPOConfig, {**online, **form, "guidance": preset.guidance}, rewarded),
        "nft": (VideoNFTTrainer, VideoNFTConfig, online, rewarded),
        "awm": (VideoAWMTrainer, VideoAWMConfig, online, rewarded),
        "draft": (VideoDraftTrainer, VideoDraftConfig, sampled, rewarded),
        "distill": (VideoDistillTrainer, VideoDistillConfig, {**student, **teacher}, {"train_dataset": rows}),
        "dmd": (VideoDMDTrainer, VideoDMDConfig, {**student, "critic_updates": 1}, {"train_dataset": rows}),
    }
    trainer_class, config_class, settings, data = classes[kind]
    args = configured(config_class, folder, shape, **settings)
    return trainer_class(model=family, args=args, **data)


def update(kind: str, preset: ModelPreset, family: ModelFamily, shape: Any, folder: Path) -> None:
    """Two updates of the algorithm `kind`: finite losses that move weights and change the latents' std by 1.5 at most.

    The preflight compares the std of GRPO's latents at every random step with the deterministic sampler's.
    """
    if kind == "distill" and family.spec.prediction == "v_prediction":
        with pytest.raises(ConfigError, match="predicts v, which cannot be distilled yet"):
            trainer_of(kind, preset, family, shape, folder)
        pytest.skip("a model that predicts v is not distilled")
    trainer = trainer_of(kind, preset, family, shape, folder)
    found = {one.name: one for one in preflight(trainer)}
    assert [one for one in found.values() if one.level == "stop"] == []
    if kind == "grpo":
        assert found["latents"].level == found["replay"].level == "ok"
    rows = rows_for(family, shape)
    requests = [trainer.template.model_copy(update={**rows[0], "seed": seed}) for seed in (1, 2)]
    before = generate_rollouts(family, requests, trainer.prompts, decode=False)
    weights = {name: value.detach().clone() for name, value in trainable(trainer.family.network)}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert any((value != weights[name]).any() for name, value in trainable(trainer.family.network))
    after = generate_rollouts(family, requests, trainer.prompts, decode=False)
    assert 1 / 1.5 <= float(after.latents.std() / before.latents.std()) <= 1.5
    assert torch.isfinite(after.latents).all()
