"""SDE steps leave the latents' distribution as it is, on Wan's schedule; test_every_algorithm has the presets'."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.sampling.forward_process import expected_std
from engine.training.rollout.rollouts import Rollouts, generate_rollouts
from engine.training.trainer_settings import (
    VideoGRPOConfig,
)
from engine.training.trainers.grpo import VideoGRPOTrainer

PROMPTS = ["a red circle", "a blue square"]


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
        trainer.family, made.requests, trainer.prompts, kept=trainer.sde_steps(made.requests), decode=False
    )
    assert len(made.steps) == num_steps - 1
    wanted = [expected_std("flow", step.sigma_next[0]) for step in made.steps] + [1.0]
    for got, deterministic, exact in zip(stds(made), stds(plain), wanted, strict=True):
        assert deterministic / 1.1 <= got <= 1.1 * exact
    assert max(max(step.noise_std) for step in made.steps) <= 0.75
