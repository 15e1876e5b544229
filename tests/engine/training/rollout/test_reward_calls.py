"""TRL's reward protocol as clips have it: what functions are given, that they may be async, where their notes go."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ConfigError, TrainingError
from engine.training.rollout.reward_calls import check_whole_groups, score
from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.nft import VideoNFTTrainer
from rewards.clip import Clip

CLIPS = [Clip(frames=np.full((3, 8, 8, 3), 40 * n, np.uint8), fps=8.0, prompt=f"prompt {n}") for n in range(3)]
ROWS = [{"prompt": clip.prompt, "tag": n} for n, clip in enumerate(CLIPS)]


def test_functions_get_columns_clips_and_prompts() -> None:
    def by_tag(prompts: Sequence[str], completions: Sequence[Clip], tag: Sequence[int], **_: Any) -> list[float | None]:
        assert list(prompts) == [clip.prompt for clip in completions]
        return [None if one == 1 else float(one) for one in tag]

    found = score([by_tag, lambda **_: [1.0, 2.0, 3.0]], ROWS, CLIPS)
    assert torch.equal(found.nan_to_num(nan=-1), torch.tensor([[0.0, 1.0], [-1.0, 2.0], [2.0, 3.0]]))


def test_async_functions_wait_side_by_side() -> None:
    """Each waits for the other, so one after the other would never end."""
    events: dict[str, asyncio.Event] = {}

    def waiting(own: str, other: str, value: float) -> Callable[..., Any]:
        async def reward(completions: Sequence[Clip], **_: Any) -> list[float]:
            events.setdefault(own, asyncio.Event()).set()
            await asyncio.wait_for(events.setdefault(other, asyncio.Event()).wait(), 10)
            return [value] * len(completions)

        return reward

    functions = [waiting("a", "b", 0.25), lambda **_: [0.5] * 3, waiting("b", "a", 0.75)]
    assert score(functions, ROWS, CLIPS).tolist() == [[0.25, 0.5, 0.75]] * 3


def test_async_functions_keep_their_loop_and_a_notebooks_own_may_run() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def reward(completions: Sequence[Clip], **_: Any) -> list[float]:
        loops.append(asyncio.get_running_loop())
        return [0.5] * len(completions)

    async def in_a_notebook() -> None:
        score([reward], ROWS, CLIPS)

    score([reward], ROWS, CLIPS)
    asyncio.run(in_a_notebook())
    assert loops[0] is loops[1] and loops[0].is_running()


def test_async_values_are_checked_too() -> None:
    async def broken(**_: Any) -> list[float]:
        return [0.5, float("nan"), 0.5]

    with pytest.raises(TrainingError, match="'broken' gave nan for a clip of 'prompt 1'"):
        score([broken], ROWS, CLIPS)


def test_what_a_reward_notes_is_logged(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    def noting(completions: Sequence[Clip], log_extra: Any, log_metric: Any, **_: Any) -> list[float]:
        values = [float(clip.frames.mean()) / 255 for clip in completions]
        log_extra("brightness", values)
        log_extra("verdict", ["bright"] * len(values))
        log_metric("clips", len(values))
        return values

    args = VideoNFTConfig(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, report_to="none", max_steps=1, logging_steps=1,
        lora_rank=2, num_frames=9, width=32, height=32, fps=8.0, num_steps=2, per_device_train_batch_size=4,
        num_generations=4, gradient_accumulation_steps=1,
    )  # fmt: skip
    trainer = VideoNFTTrainer(model=open_tiny(), reward_funcs=noting, args=args, train_dataset=["a red circle"])
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["clips"] == 4 and 0 <= logged["extra/brightness"] <= 1
    assert logged["extra/brightness"] == pytest.approx(logged["reward"], abs=1e-5)


def test_a_reward_that_compares_clips_needs_whole_groups() -> None:
    def win_rate(prompts: Sequence[str], **_: Any) -> list[float | None]:
        return [0.5] * len(prompts)

    check_whole_groups([win_rate], 6, 4)
    win_rate.compares_clips = True  # type: ignore[attr-defined]
    check_whole_groups([win_rate], 8, 4)
    with pytest.raises(ConfigError, match=r"'win_rate' compares the clips .* 6 clips at once and num_generations is 4"):
        check_whole_groups([win_rate], 6, 4)
