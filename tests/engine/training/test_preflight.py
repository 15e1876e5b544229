"""What preflight stops instead of failing at it, and what it leaves behind: nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import TrainingError
from engine.training.config import VideoDPOConfig, VideoNFTConfig
from engine.training.dpo_trainer import VideoDPOTrainer
from engine.training.nft_trainer import VideoNFTTrainer
from engine.training.preflight import preflight, refuse

PROMPTS = ["a red circle moving left", "a blue square"]
SETTINGS: dict[str, Any] = {
    "use_cpu": True, "disable_tqdm": True, "max_steps": 2, "lora_rank": 2, "num_frames": 9, "width": 32, "height": 32,
    "fps": 8.0, "num_steps": 2, "per_device_train_batch_size": 4,
}  # fmt: skip
Open = Callable[[], Any]


def online(model: Any, folder: Path, reward: Any, **others: Any) -> VideoNFTTrainer:
    args = VideoNFTConfig(output_dir=str(folder), num_generations=4, **SETTINGS, **others)
    return VideoNFTTrainer(model=model, reward_funcs=reward, args=args, train_dataset=PROMPTS)


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


@pytest.mark.parametrize(
    ("values", "message"),
    [([0.5, float("nan"), 0.5, 0.5], "it must give a finite number"), ([0.5], "gave 1 values for 4 clips")],
)
def test_a_reward_that_is_broken_is_a_verdict(
    values: list[float], message: str, open_tiny: Open, tmp_path: Path
) -> None:
    found = preflight(online(open_tiny(), tmp_path, lambda **_: values))
    assert [(one.name, one.level) for one in found][-1] == ("rewards", "stop")
    assert message in found[-1].sentence
    with pytest.raises(TrainingError, match="The run was not started"):
        refuse(found)


def test_pairs_of_one_clip_are_stopped(open_tiny: Open, tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (2, 9, 32, 32, 3), np.uint8)
    rows = [{"prompt": prompt, "chosen": clip, "rejected": clip} for prompt, clip in zip(PROMPTS, clips, strict=True)]
    args = VideoDPOConfig(output_dir=str(tmp_path), **SETTINGS)
    found = preflight(VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=rows))
    assert [(one.name, one.level) for one in found] == [("frames", "ok"), ("pairs", "stop")]
    assert "of the first 2 pairs are the same" in found[-1].sentence


def test_nothing_of_preflight_is_logged_as_training(open_tiny: Open, tmp_path: Path) -> None:
    trainer = online(open_tiny(), tmp_path, brightness)
    assert {one.name for one in preflight(trainer)} >= {"rewards", "groups"}
    assert not trainer.sums


@pytest.mark.parametrize(("batches", "accumulated", "updates"), [(4, 3, 4), (4, 2, 2), (2, 4, 1), (6, 4, 3)])
def test_a_run_stops_only_where_an_update_ends_with_its_clips(
    batches: int, accumulated: int, updates: int, open_tiny: Open, tmp_path: Path
) -> None:
    trainer = online(open_tiny(), tmp_path, brightness)
    trainer.args.steps_per_generation, trainer.args.gradient_accumulation_steps = batches, accumulated
    assert trainer.updates_per_generation == updates
    ends = [step for step in range(1, 13) if step * accumulated % batches == 0]
    stops = []
    for step in range(1, 13):
        trainer.state.global_step = step
        stops += [step] if trainer.can_stop else []
    assert stops == ends
