"""Rollouts of other processes equal those of the trainer, and train the same weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.execution.executors import InProcessExecutor
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.rollout.rollout_actors import use_actors
from engine.training.weights import trainable
from engine.workspace import Workspace

RECIPE = """
title = "Tiny {algorithm}"
algorithm = "{algorithm}"
model = "tiny"
mix = "tiny"
rewards = "{rewards}"
prompts = "{prompts}"
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 3
lora_rank = 2
max_steps = 2
learning_rate = 1e-2
num_generations = 2
per_device_train_batch_size = 3
gradient_accumulation_steps = 2
rollout_batch = 3
logging_steps = 1
"""


@pytest.fixture
def new_run(tiny_model: str, tmp_path: Path) -> Any:
    folder = tmp_path / "presets" / "train"
    folder.mkdir()
    for algorithm, rewards in (("grpo", "parts"), ("nft", "total")):
        recipe = RECIPE.format(algorithm=algorithm, rewards=rewards, prompts="mini")
        (folder / f"tiny_{algorithm}.toml").write_text(recipe)
    space = Workspace(tmp_path / "workspace").prepare()
    return lambda algorithm: Run.create(space, load_train_preset(f"tiny_{algorithm}"))


@pytest.fixture
def run_with_columns(new_run: Any, tmp_path: Path) -> Run:
    """A run whose rows of prompts have a column besides the prompt."""
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"a circle {number}", "negative": f"no {number}"} for number in range(3)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = RECIPE.format(algorithm="grpo", rewards="total", prompts=prompts)
    (tmp_path / "presets" / "train" / "tiny_rows.toml").write_text(recipe)
    return new_run("rows")


def trained(run: Run, actors: int) -> tuple[Any, dict[str, torch.Tensor]]:
    trainer = build_trainer(run.preset(), run)
    if actors:
        use_actors(trainer, run, InProcessExecutor(), actors)
    trainer.train()
    return trainer, {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


@pytest.mark.parametrize("algorithm", ["grpo", "nft"])
def test_the_same_weights_come_of_it(algorithm: str, new_run: Any) -> None:
    """Shares of 3 and 3 clips split a group; with a new policy in between, results are bit-identical."""
    alone, expected = trained(new_run(algorithm), 0)
    shared, found = trained(new_run(algorithm), 2)
    assert shared.actors is not None and alone.actors is None
    for name, weights in expected.items():
        assert torch.equal(found[name], weights), name
    moved = [name for name, weights in expected.items() if ".lora_B." in name and weights.abs().sum() > 0]
    assert moved
    names = [name for name in alone.state.log_history[-2] if name.startswith(("reward", "kl"))]
    assert names
    for before, after in zip(alone.state.log_history[:2], shared.state.log_history[:2], strict=True):
        assert [after[name] for name in names] == [before[name] for name in names]


def test_rewards_of_actors_get_the_columns_of_the_data(run_with_columns: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, str]] = []

    def reward(prompts: list[str], completions: list[Any], negative: list[str], **_: Any) -> list[float]:
        got.extend(zip(prompts, negative, strict=True))
        return [float(clip.frames.mean()) for clip in completions]

    monkeypatch.setattr("engine.training.build._rewards", lambda preset: [reward])
    trained(run_with_columns, 2)
    assert len(got) == 12 and {(prompt, f"no {prompt[-1]}") for prompt, _ in got} == set(got)


def test_what_makes_no_clips_has_no_use_for_actors(new_run: Any) -> None:
    run = new_run("nft")
    with pytest.raises(ConfigError, match="'nft' makes no clips that actors could share"):
        use_actors(object(), run, InProcessExecutor(), 2)
