"""The distil trainer on a tiny model: a student that arrives where its teacher does, resumes, and is sampled as any."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ConfigError
from engine.seeds import generator_for
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.rollout.rollouts import generate_rollouts
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.weights import trainable

PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
ROWS = [{"prompt": prompt} for prompt in PROMPTS]
Open = Callable[[], Any]


def make(family: Any, folder: Path, **others: Any) -> VideoDistillTrainer:
    plain = {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 2,
        "max_steps": 4,
        "seed": 3,
        "lr_scheduler_type": "constant",
        "num_frames": 9,
        "width": 32,
        "height": 32,
        "num_steps": 6,
        "guidance": 2.0,
        "student_steps": 2,
        "rollout_clips": 4,
        "steps_per_rollout": 2,
        "per_device_train_batch_size": 4,
        "lora_rank": 4,
    }
    return VideoDistillTrainer(model=family, args=VideoDistillConfig(**{**plain, **others}), train_dataset=PROMPTS)


def distance(trainer: VideoDistillTrainer) -> float:
    """How far the student's clips end from the teacher's, from the same noise."""
    taught = trainer.teacher_rollouts(ROWS, rollout=77)
    requests = [r.model_copy(update={"num_steps": 2, "guidance": 1.0}) for r in taught.requests]
    student = generate_rollouts(trainer.family, requests, trainer.prompts)
    return float((student.latents - taught.latents).square().mean())


def test_levels_of_the_teacher_pass_through_the_students(open_tiny: Open, tmp_path: Path) -> None:
    from engine.sampling.schedules import sigmas_for

    trainer = make(open_tiny(), tmp_path)
    levels = trainer.levels(trainer.template)
    tokens = trainer.family.init_latents(trainer.template, [generator_for(0)]).shape[2:].numel()
    assert len(levels) == 7
    assert torch.equal(levels[::3], sigmas_for(trainer.family.scheduler_config, 2, tokens))
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("target", ["trajectory", "consistency"])
def test_the_student_comes_to_arrive_where_its_teacher_does(target: str, open_tiny: Open, tmp_path: Path) -> None:
    trainer = make(open_tiny(), tmp_path, target=target, max_steps=30, learning_rate=1e-2, save_steps=100, lora_rank=8)
    before = distance(trainer)
    trainer.train()
    assert distance(trainer) < 0.8 * before
    assert {"loss", "segment/0", "segment/1"} <= set(trainer.state.log_history[0])


def test_resumed_is_the_run_that_was_never_stopped(open_tiny: Open, tmp_path: Path) -> None:
    whole = make(open_tiny(), tmp_path / "whole")
    whole.train()
    for steps in (3, 2):
        make(open_tiny(), tmp_path / str(steps), max_steps=steps, save_steps=steps).train()
        again = make(open_tiny(), tmp_path / str(steps))
        again.train(resume_from_checkpoint=str(tmp_path / str(steps) / f"checkpoint-{steps}"))
        expected = dict(trainable(whole.family.network))
        for name, parameter in trainable(again.family.network):
            assert torch.equal(parameter, expected[name]), name


def test_it_begins_with_an_adapter_and_learns_from_that(open_tiny: Open, tiny_lora: Path, tmp_path: Path) -> None:
    plain = make(open_tiny(), tmp_path, lora_rank=2).teacher_rollouts(ROWS, 0)
    args = make(open_tiny(), tmp_path, lora_rank=2).args
    tuned = VideoDistillTrainer(model=open_tiny(), args=args, train_dataset=PROMPTS, start=tiny_lora)
    assert (tuned.teacher_rollouts(ROWS, 0).latents - plain.latents).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"student_steps": 0}, "1 or more"),
        ({"num_steps": 1}, "fewer than its student's 2"),
        ({"huber": 0.0}, "above 0"),
        ({"rollout_clips": 9}, "there are 4"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    others: dict[str, Any], message: str, open_tiny: Open, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(open_tiny(), tmp_path, **others)
