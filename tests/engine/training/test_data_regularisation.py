"""Data-regularised RL: the loss on given clips beside that of the rollouts, in each online trainer."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import ConfigError, TrainingError
from engine.training.preflight.checks import preflight
from engine.training.trainer_settings import VideoAWMConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.trainers.online import OnlineTrainer
from engine.training.weights import trainable
from engine.video.writer import write_lossless

PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
TRAINERS: dict[str, tuple[Any, Any]] = {
    "grpo": (VideoGRPOTrainer, VideoGRPOConfig),
    "nft": (VideoNFTTrainer, VideoNFTConfig),
    "awm": (VideoAWMTrainer, VideoAWMConfig),
}
Open = Callable[[], Any]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos with captions, one more than a batch has."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(5):
        path = folder / f"{number}.mkv"
        write_lossless(path, np.random.default_rng(number).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), 8.0)
        path.with_suffix(".txt").write_text(f"caption {number}")
    return folder


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def make(kind: str, model: Any, folder: Path, **others: Any) -> OnlineTrainer:
    plain = {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 2,
        "lr_scheduler_type": "constant",
    }
    shape = {"num_frames": 9, "width": 32, "height": 32, "fps": 8.0, "num_steps": 3, "guidance": 1.0, "lora_rank": 2}
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 4, "max_steps": 2}
    trainer, config = TRAINERS[kind]
    made: OnlineTrainer = trainer(model, brightness, config(**plain, **shape, **batch, **others), PROMPTS)
    return made


def gradient_of(trainer: OnlineTrainer, parts: Sequence[Tensor]) -> Tensor:
    trainer.family.network.zero_grad()
    sum(parts[1:], parts[0]).backward()
    return torch.cat([parameter.grad.flatten().clone() for _, parameter in trainable(trainer.family.network)])


@pytest.mark.parametrize("kind", TRAINERS)
def test_the_gradient_is_the_sum_of_both(kind: str, open_tiny: Open, videos: Path, tmp_path: Path) -> None:
    trainer = make(kind, open_tiny(), tmp_path, data=str(videos), data_weight=0.3)
    batch = trainer.first_generation_batch()[0]
    rows = trainer.data_rows(4)
    apart = gradient_of(trainer, list(trainer.losses(batch))) + 0.3 * gradient_of(trainer, [trainer.data_loss(rows)])
    together = gradient_of(trainer, list(trainer.parts(batch)))
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-8)
    assert (together - gradient_of(trainer, list(trainer.losses(batch)))).abs().max() > 1e-6


def test_given_clips_of_several_sizes_come_in_batches_of_one(open_tiny: Open, videos: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(videos, mixed)
    write_lossless(mixed / "long.mkv", np.zeros((17, 32, 32, 3), np.uint8), 8.0)
    (mixed / "long.txt").write_text("a long one")
    trainer = make("nft", open_tiny(), tmp_path / "run", data=str(mixed))
    drawn = []
    for trainer.state.global_step in range(2):
        for trainer.micro_step in range(2):
            rows = trainer.data_rows(4)
            drawn += [row["prompt"] for row in rows]
            assert trainer.clip_latents.chosen(rows).shape[0] == 4
    assert "a long one" in drawn


def test_every_clip_comes_once_in_each_pass_and_the_order_changes(
    open_tiny: Open, videos: Path, tmp_path: Path
) -> None:
    trainer = make("awm", open_tiny(), tmp_path, data=str(videos))
    drawn = []
    for trainer.state.global_step in range(5):
        for trainer.micro_step in range(2):
            drawn += [row["prompt"] for row in trainer.data_rows(4)]
    passes = [tuple(drawn[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(one) == [f"caption {number}" for number in range(5)] for one in passes)
    assert len(set(passes)) > 4


def test_resumed_equals_uninterrupted(open_tiny: Open, videos: Path, tmp_path: Path) -> None:
    """Two updates and two more after a restart, with the same clips of the data as four updates in one go."""
    whole = make("nft", open_tiny(), tmp_path / "whole", data=str(videos), data_weight=1.0)
    whole.args.max_steps = 4
    whole.train()
    errors = [entry["error/data"] for entry in whole.state.log_history if "error/data" in entry]
    assert len(errors) == 4 and len(set(errors)) == 4
    make("nft", open_tiny(), tmp_path / "cut", data=str(videos), data_weight=1.0).train()
    rest = make("nft", open_tiny(), tmp_path / "cut", data=str(videos), data_weight=1.0)
    rest.args.max_steps = 4
    rest.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2"))
    for (name, expected), (_, found) in zip(
        trainable(whole.family.network), trainable(rest.family.network), strict=True
    ):
        assert torch.equal(expected, found), name


def test_bad_data_is_refused_before_the_run(open_tiny: Open, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        make("nft", open_tiny(), tmp_path, data=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="data_weight must be above 0, but got 0"):
        make("nft", open_tiny(), tmp_path, data=str(videos), data_weight=0.0)
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    (tmp_path / "bad.txt").write_text("a caption")
    with pytest.raises(TrainingError, match="cannot be read"):
        make("nft", open_tiny(), tmp_path, data=str(tmp_path))


def test_preflight_looks_at_the_data(open_tiny: Open, videos: Path, tmp_path: Path) -> None:
    found = {check.name: check.level for check in preflight(make("nft", open_tiny(), tmp_path, data=str(videos)))}
    assert found["clips"] == "ok"
