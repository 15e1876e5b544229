"""Random steps leave the latents' distribution as it is: on Wan's own schedule, and with every preset's toy model."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families.registry import open_model
from engine.model_spec import ModelFamily
from engine.sampling.forward_process import expected_std
from engine.storage.images import save_picture
from engine.training.preflight.checks import preflight
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.rollout.rollouts import Rollouts, generate_rollouts
from engine.training.trainer_settings import (
    VideoAWMConfig,
    VideoDPOConfig,
    VideoGRPOConfig,
    VideoNFTConfig,
)
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable
from engine.workspace import Workspace

PROMPTS = ["a red circle", "a blue square"]
LONG = pytest.mark.slow


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def configured(config: Any, folder: Path, shape: Any, **settings: Any) -> Any:
    shared = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "report_to": "none", "max_steps": 1}
    shared |= {"logging_steps": 1, "save_strategy": "no", "lora_rank": 2, "learning_rate": 1e-4}
    shared |= {name: getattr(shape, name) for name in ("num_frames", "width", "height", "fps")}
    return config(**shared, **settings)


def stds(made: Rollouts) -> list[float]:
    """Of the latents after each kept step, and of the finished ones."""
    latents = [*(step.next_latents for step in made.steps), made.latents]
    return [float(one.std()) for one in latents]


@pytest.mark.parametrize("tiny", ["wan_exact"], indirect=True)
@pytest.mark.parametrize("num_steps", [8, 16, 50])
def test_grpos_defaults_keep_the_std_of_wans_schedule(tiny: SimpleNamespace, num_steps: int, tmp_path: Path) -> None:
    """UniPC with a shift of 3, exact velocity: never above 1.1 times the schedule's std, sqrt((1 - s)^2 + s^2), nor
    below the deterministic sampler's by more, which few steps leave below it.
    """
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_steps": num_steps}
    args = configured(VideoGRPOConfig, tmp_path, tiny.model.request, **settings)
    trainer = VideoGRPOTrainer(model=tiny.open(), reward_funcs=brightness, args=args, train_dataset=PROMPTS[:1])
    assert trainer.family.scheduler_config["_class_name"] == "UniPCMultistepScheduler"
    made = trainer.first_generation_batch()[0].rollouts
    plain = generate_rollouts(
        trainer.family, made.requests, trainer.prompts, kept=trainer.random_steps(made.requests), decode=False
    )
    assert len(made.steps) == num_steps - 1
    wanted = [expected_std("flow", step.sigma_next[0]) for step in made.steps] + [1.0]
    for got, deterministic, exact in zip(stds(made), stds(plain), wanted, strict=True):
        assert deterministic / 1.1 <= got <= 1.1 * exact
    assert max(max(step.noise_std) for step in made.steps) <= 0.75


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
@pytest.mark.parametrize("kind", ["grpo", *(pytest.param(k, marks=LONG) for k in ("nft", "dpo", "awm", "distill"))])
def test_one_update_of_every_preset(preset_key: str, tiny: SimpleNamespace, kind: str, tmp_path: Path) -> None:
    update(kind, *opened(preset_key, tiny), tiny.model.request, tmp_path)


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


@pytest.mark.parametrize("kind", ["grpo", "nft", "dpo"])
def test_one_update_of_mini(kind: str, tmp_path: Path) -> None:
    preset, family = opened("mini", None)
    shape = SimpleNamespace(num_frames=17, width=64, height=64, fps=8.0)
    update(kind, preset, family, shape, tmp_path)


FORWARD: dict[str, tuple[Any, Any]] = {
    "nft": (VideoNFTTrainer, VideoNFTConfig),
    "awm": (VideoAWMTrainer, VideoAWMConfig),
}


def rows_for(family: ModelFamily, shape: Any) -> list[dict[str, str]]:
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


def update(kind: str, preset: ModelPreset, family: ModelFamily, shape: Any, folder: Path) -> None:
    """One update of the algorithm `kind`: a finite loss that moves weights, before which and after which the latents'
    std stays within 1.5 of the deterministic sampler's at every step.
    """
    flow = family.spec.prediction == "flow"
    # With 4 steps LTX-Video 0.9.5's schedule falls from 0.975 to 0.725 at once, too far for a step of flow_grpo.
    num_steps = 8 if family.scheduler_config.get("_grid") == "linear_quadratic" else 4
    online = {"num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
    online["num_steps"] = num_steps
    rows = rows_for(family, shape)
    if kind == "dpo":
        frames = np.random.default_rng(0).integers(
            0, 255, (2, shape.num_frames, shape.height, shape.width, 3), np.uint8
        )
        pair = {**rows[0], "chosen": frames[0], "rejected": frames[1]}
        args = configured(VideoDPOConfig, folder, shape, per_device_train_batch_size=1, num_steps=num_steps)
        trainer: Any = VideoDPOTrainer(model=family, args=args, train_dataset=[pair])
    elif kind in FORWARD:
        trainer_class, config_class = FORWARD[kind]
        args = configured(config_class, folder, shape, **online)
        trainer = trainer_class(model=family, reward_funcs=brightness, args=args, train_dataset=rows)
    elif kind == "distill":
        student = {"num_steps": num_steps, "student_steps": 2, "rollout_clips": 2, "rollout_batch": 2}
        args = configured(
            VideoDistillConfig, folder, shape, **student, per_device_train_batch_size=2, guidance=preset.guidance
        )
        if family.spec.prediction == "v_prediction":
            with pytest.raises(ConfigError, match="predicts v, which cannot be distilled yet"):
                VideoDistillTrainer(model=family, args=args, train_dataset=rows)
            pytest.skip("a model that predicts v is not distilled")
        trainer = VideoDistillTrainer(model=family, args=args, train_dataset=rows)
    else:
        form = {} if flow else {"sde_form": "ddim"}
        args = configured(VideoGRPOConfig, folder, shape, **online, **form, guidance=preset.guidance)
        trainer = VideoGRPOTrainer(model=family, reward_funcs=brightness, args=args, train_dataset=rows)
        made = trainer.first_generation_batch()[0].rollouts
        plain = generate_rollouts(
            family, made.requests, trainer.prompts, kept=trainer.random_steps(made.requests), decode=False
        )
        for got, wanted in zip(stds(made), stds(plain), strict=True):
            assert math.isfinite(got) and 1 / 1.5 <= got / wanted <= 1.5
    found = preflight(trainer)
    assert [one for one in found if one.level == "stop"] == []
    requests = [trainer.template.model_copy(update={**rows[0], "seed": seed}) for seed in (1, 2)]
    before = generate_rollouts(family, requests, trainer.prompts, decode=False)
    weights = {name: value.detach().clone() for name, value in trainable(trainer.family.network)}
    trainer.train()
    assert np.isfinite([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]).all()
    assert any((value != weights[name]).any() for name, value in trainable(trainer.family.network))
    after = generate_rollouts(family, requests, trainer.prompts, decode=False)
    assert 1 / 1.5 <= float(after.latents.std() / before.latents.std()) <= 1.5
    assert torch.isfinite(after.latents).all()
