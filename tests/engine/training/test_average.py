"""The exported average: what was trained, without the start, from the first update on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import average_decay, trainable
from rewards.clip import Clip

PROMPTS = ["a red circle moving left", "a blue square"]


def brightness(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def weights_after(updates: int, decay: float) -> list[float]:
    """The weight of the start, and of each update, in the average after so many."""
    found = [1.0]
    for update in range(1, updates + 1):
        stays = average_decay(update, decay)
        found = [stays * weight for weight in found] + [1 - stays]
    return found


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("updates", [1, 20, 300])
def test_the_start_has_no_weight_and_the_decay_is_reached_in_time(decay: float, updates: int) -> None:
    start, *others = weights_after(updates, decay)
    assert start == 0 and sum(others) == pytest.approx(1)
    mean_age = sum(weight * age for age, weight in enumerate(reversed(others)))
    assert mean_age <= min(updates / 10, decay / (1 - decay)) + 1e-9
    assert average_decay(10_000, decay) == decay


def test_the_average_holds_what_was_trained(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    """M3: with a decay of 0.99 and 20 updates, |lora_B| of the average was 14 % of that trained."""
    args = VideoNFTConfig(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, seed=3, lora_rank=4, lr_scheduler_type="constant",
        num_frames=9, width=32, height=32, fps=8.0, num_steps=2, max_steps=20, learning_rate=1e-3, ema_decay=0.99,
        num_generations=4, per_device_train_batch_size=8, advantage_floor=0.0, save_steps=1000,
    )  # fmt: skip
    trainer = VideoNFTTrainer(model=open_tiny(), reward_funcs=[brightness], args=args, train_dataset=PROMPTS)
    trainer.train()
    trained = {name: value.detach() for name, value in trainable(trainer.family.network) if "lora_B" in name}
    average = {name: trainer.copies["average"].values[name] for name in trained}
    share = size_of(average) / size_of(trained)
    assert share >= 0.8, f"|lora_B| of the average is {share:.1%} of the trained"


def size_of(weights: dict[str, Tensor]) -> float:
    return float(sum(value.norm() ** 2 for value in weights.values())) ** 0.5
