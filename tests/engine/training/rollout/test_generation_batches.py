"""Every clip that is learnt from belongs to the current generation batch, whatever the sizes, also on resume."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import trainable
from rewards.clip import Clip

Open = Callable[[], Any]
COLOURS = ("red", "green", "blue", "white", "grey")
PROMPTS = [f"a {colour} {shape}" for shape in ("circle", "square") for colour in COLOURS]
GRID = [
    # prompts, group, batch, accumulation, generation batch, iterations
    (9, 2, 2, 2, 6, 1),  # the last update of an epoch has one batch instead of two
    (9, 2, 2, 2, 6, 2),
    (7, 2, 2, 4, 6, 1),  # an update takes more batches than a generation has
    (4, 2, 4, 3, 4, 1),
    (10, 2, 2, 3, 4, 1),
    (4, 2, 2, 2, 4, 1),  # everything divides
]


def brightness(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


class Watched(VideoNFTTrainer):
    """Notes what each batch was learnt from, and what the sampler gave for it."""

    def __init__(self, *args: Any, **others: Any) -> None:
        self.learnt: list[dict[str, Any]] = []
        self.made = 0
        super().__init__(*args, **others)

    def _generate_and_score(self, rows: Any) -> list[RolloutBatch]:
        self.made += 1
        return super()._generate_and_score(rows)

    def _prepare_inputs(self, inputs: Any) -> RolloutBatch:
        batch = super()._prepare_inputs(inputs)
        found = {
            "step": self.state.global_step,
            "turn": {row["prompt"] for row in inputs},
            "of": {request.prompt for request in batch.rollouts.requests},
            "generation": self.iteration,
            "at": (self.state.global_step, self.micro_step),
            "prompts": [request.prompt for request in batch.rollouts.requests],
            "made": self.made,
            "seeds": [batch.rollouts.requests[row].seed for row in batch.index],
        }
        self.learnt.append(found)
        return batch


def make(family: Any, folder: Path, sizes: tuple[int, int, int, int, int, int], steps: int, **others: Any) -> Watched:
    prompts, group, batch, accumulation, generation, iterations = sizes
    args = VideoNFTConfig(
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, seed=3, lora_rank=2, lr_scheduler_type="constant",
        num_frames=9, width=32, height=32, fps=8.0, num_steps=1, levels_per_clip=1, max_steps=steps,
        num_generations=group, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
        generation_batch_size=generation, num_iterations=iterations, save_steps=1000, **others,
    )  # fmt: skip
    return Watched(model=family, reward_funcs=[brightness], args=args, train_dataset=PROMPTS[:prompts])


def updates_of(sizes: tuple[int, int, int, int, int, int]) -> int:
    """Updates of an epoch, counted without the trainer."""
    prompts, group, batch, accumulation, generation, iterations = sizes
    batches = prompts // (generation // group) * (generation // batch) * iterations
    return -(-batches // accumulation)


@pytest.mark.parametrize("sizes", GRID)
def test_every_clip_is_of_the_generation_batch_whose_turn_it_is(
    sizes: tuple[int, int, int, int, int, int], open_tiny: Open, tmp_path: Path
) -> None:
    """M7: with the first sizes, four of the six batches of updates 5 to 7 were of clips past their turn."""
    _, _, batch, _, generation, iterations = sizes
    trainer = make(open_tiny(), tmp_path, sizes, steps=2 * updates_of(sizes) + 1)
    trainer.train()
    stale = [one["step"] for one in trainer.learnt if one["turn"] != one["of"]]
    assert stale == []
    per_generation = generation // batch * iterations
    for first in trainer.learnt[::per_generation]:
        assert trainer.begin_of(first["generation"]) == first["at"]
        assert [row["prompt"] for row in trainer.rows_of(first["generation"])] == first["prompts"]
    assert [one["made"] for one in trainer.learnt] == [1 + n // per_generation for n in range(len(trainer.learnt))]
    assert [one["generation"] for one in trainer.learnt] == [one["made"] - 1 for one in trainer.learnt]
    for number in range(1, len(trainer.learnt) // per_generation + 1):
        seeds = [seed for one in trainer.learnt if one["made"] == number for seed in one["seeds"]]
        assert len(seeds) == generation * iterations and len(set(seeds)) == generation, "each clip, as often as meant"


@pytest.mark.parametrize("sizes", [GRID[0], GRID[3]])
def test_a_run_that_stops_between_generations_goes_on_as_if_it_had_not(
    sizes: tuple[int, int, int, int, int, int], open_tiny: Open, tmp_path: Path
) -> None:
    """At each update after which the trainer says that it can stop: the resumed run learns from the same clips."""
    updates = updates_of(sizes)
    whole = make(open_tiny(), tmp_path / "whole", sizes, steps=2 * updates)
    whole.train()
    stops = [step for step in range(1, 2 * updates) if is_safe_stop(whole, step)]
    assert updates in stops, "an epoch ends with a generation batch"
    assert all(step in stops for step in range(1, 2 * updates) if step % whole.updates_per_generation == 0)
    cut = stops[len(stops) // 2]
    first = make(open_tiny(), tmp_path / "cut", sizes, steps=2 * updates)
    first.args.max_steps, first.args.save_steps = cut, cut
    first.train()
    second = make(open_tiny(), tmp_path / "cut", sizes, steps=2 * updates)
    second.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{cut}"))
    assert [one["seeds"] for one in first.learnt + second.learnt] == [one["seeds"] for one in whole.learnt]
    weights = [dict(trainable(one.family.network)) for one in (whole, second)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def is_safe_stop(trainer: Watched, step: int) -> bool:
    at, trainer.state.global_step = trainer.state.global_step, step
    could = trainer.is_safe_stop
    trainer.state.global_step = at
    return could
