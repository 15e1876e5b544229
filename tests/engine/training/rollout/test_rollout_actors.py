"""Rollouts of other processes equal those of the trainer, and train the same weights."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.execution.executors import Completed, InProcessExecutor, Task
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.rollout.rollout_actors import RolloutActors, use_actors
from engine.training.rollout.rollouts import Rollouts
from engine.training.trainers.online import AHEAD, OnlineTrainer
from engine.training.weights import trainable
from engine.workspace import Workspace

PRESET = """
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
    presets = {"grpo": ("grpo", "parts"), **{f"total_{name}": (name, "total") for name in ("grpo", "nft", "awm")}}
    for key, (algorithm, rewards) in presets.items():
        preset = PRESET.format(algorithm=algorithm, rewards=rewards, prompts="mini")
        (folder / f"tiny_{key}.toml").write_text(preset)
    space = Workspace(tmp_path / "workspace").prepare()
    return lambda algorithm, **settings: Run.create(
        space, load_train_preset(f"tiny_{algorithm}", {"settings": settings} if settings else {})
    )


@pytest.fixture
def run_with_columns(new_run: Any, tmp_path: Path) -> Run:
    """A run whose rows of prompts have a column besides the prompt."""
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"a circle {number}", "negative": f"no {number}"} for number in range(3)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = PRESET.format(algorithm="grpo", rewards="total", prompts=prompts)
    (tmp_path / "presets" / "train" / "tiny_rows.toml").write_text(preset)
    return new_run("rows")


def trained(run: Run, actors: int) -> tuple[Any, dict[str, torch.Tensor]]:
    trainer = build_trainer(run.preset(), run)
    if actors:
        use_actors(trainer, run, InProcessExecutor(), actors)
    trainer.train()
    return trainer, {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


@pytest.mark.parametrize("algorithm", ["grpo", pytest.param("total_nft", marks=pytest.mark.slow)])
def test_the_same_weights_come_of_it(algorithm: str, new_run: Any) -> None:
    """Shares of 3 and 3 clips split a group; with a new policy in between, results are bit-identical."""
    alone, expected = trained(new_run(algorithm), 0)
    shared, found = trained(new_run(algorithm, one_step_off=False), 2)
    assert shared.actors is not None and alone.actors is None
    for name, weights in expected.items():
        assert torch.equal(found[name], weights), name
    moved = [name for name, weights in expected.items() if ".lora_B." in name and weights.abs().sum() > 0]
    assert moved
    names = [name for name in alone.state.log_history[-2] if name.startswith(("reward", "kl"))]
    assert names
    for before, after in zip(alone.state.log_history[:2], shared.state.log_history[:2], strict=True):
        assert [after[name] for name in names] == [before[name] for name in names]


@pytest.mark.usefixtures("quick_reward")
def test_a_compiled_network_gives_its_weights_to_actors(new_run: Any) -> None:
    """Its parameters have names of their own, which an actor's plain network does not know."""
    run = new_run("total_nft")
    trainer = build_trainer(run.preset(), run)
    use_actors(trainer, run, InProcessExecutor(), 2)
    assert isinstance(trainer, OnlineTrainer) and trainer.actors is not None
    rows = trainer.rows_of(0)
    requests = trainer.requests_for(rows, 0)
    plain = trainer.actors.generate(trainer, requests, rows)
    trainer.family.network = torch.compile(trainer.family.network, backend="eager")  # type: ignore[assignment, misc]
    assert torch.equal(trainer.actors.generate(trainer, requests, rows).latents, plain.latents)


def test_rewards_of_actors_get_the_columns_of_the_data(run_with_columns: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, str]] = []

    def reward(prompts: list[str], completions: list[Any], negative: list[str], **_: Any) -> list[float]:
        got.extend(zip(prompts, negative, strict=True))
        return [float(clip.frames.mean()) for clip in completions]

    monkeypatch.setattr("engine.training.build._rewards", lambda preset: [reward])
    trained(run_with_columns, 2)
    assert len(got) == 12 and {(prompt, f"no {prompt[-1]}") for prompt, _ in got} == set(got)


def test_what_makes_no_clips_has_no_use_for_actors(new_run: Any) -> None:
    run = new_run("total_nft")
    with pytest.raises(ConfigError, match="'nft' makes no clips that actors could share"):
        use_actors(object(), run, InProcessExecutor(), 2)


# ------------------------------------------------------------------------------------------------------- one step off


class Eager:
    """Executor that begins at once, in a thread, and keeps its function, as actors of a cluster do."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._function: Any = None

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Completed[Any, Any]]:
        self._function = self._function or task.open()
        answers = [self._thread.submit(self._function, item) for item in items]
        return (
            Completed(index=index, item=item, result=answer.result())
            for index, (item, answer) in enumerate(zip(items, answers, strict=True))
        )


class Noting(RolloutActors):
    """Notes each batch's rollouts and the weights when its updates begin."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.weights: list[dict[str, torch.Tensor]] = []
        self.made: list[Rollouts] = []

    def generate_ahead(self, trainer: OnlineTrainer, requests: Any, rows: Any) -> Rollouts:
        self.weights.append({name: p.detach().clone() for name, p in trainable(trainer.family.network)})
        self.made.append(super().generate_ahead(trainer, requests, rows))
        return self.made[-1]


class Killed(TrainerCallback):
    """Ends the process, as far as a test can, during update `step`: the next clips have been begun."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


def one_step_off(run: Run, executor: Any) -> Any:
    trainer = build_trainer(run.preset(), run)
    use_actors(trainer, run, executor, 1)
    return trainer


@pytest.fixture
def quick_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    def brightness(prompts: list[str], completions: list[Any], **_: Any) -> list[float]:
        return [float(clip.frames.mean()) for clip in completions]

    monkeypatch.setattr("engine.training.build._rewards", lambda preset: [brightness])


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    own = {name: parameter.detach() for name, parameter in trainable(trainer.family.network)}
    return {**own, **{f"{key} {name}": v for key, copy in trainer.copies.items() for name, v in copy.values.items()}}


def logged(trainer: Any, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]


@pytest.mark.parametrize("executor", [pytest.param(InProcessExecutor, marks=pytest.mark.slow), Eager])
@pytest.mark.usefixtures("quick_reward")
def test_the_next_clips_are_of_the_weights_before_the_update(executor: Any, new_run: Any) -> None:
    run = new_run("total_grpo", one_step_off=True, max_steps=3)
    trainer = one_step_off(run, executor())
    notes = trainer.actors = Noting(run, executor(), 2)
    trainer.train()
    assert len(notes.made) == 3 and logged(trainer, "rollout/staleness") == [0, 1, 1]
    spread = logged(trainer, "ratio/spread")
    assert spread[0] <= 1e-5 < min(spread[1:]), "old log-probabilities are of the weights that made the clips"
    trainer.actors = None
    network = dict(trainable(trainer.family.network))
    for iteration, made in enumerate(notes.made):
        for name, value in notes.weights[max(0, iteration - 1)].items():
            network[name].data.copy_(value)
        trainer.state.global_step, trainer.micro_step = trainer.begin_of(iteration)
        with trainer._scoring([{"prompt": request.prompt} for request in made.requests]) as scoring:
            again = trainer._generate_rollouts(made.requests, scoring)
        assert torch.equal(again.latents, made.latents), iteration
    assert not torch.equal(notes.weights[0][name], notes.weights[1][name]), "the weights moved between them"


@pytest.mark.usefixtures("quick_reward")
@pytest.mark.parametrize("algorithm", ["grpo", "nft", pytest.param("awm", marks=pytest.mark.slow)])
def test_one_step_off_a_killed_run_goes_on_as_if_it_had_not_been(algorithm: str, new_run: Any) -> None:
    """Its rollouts are lost with it; they are made again by the weights that made them, which checkpoints hold."""
    # Elsewhere than for GRPO actors are enough.
    own: dict[str, dict[str, Any]] = {"grpo": {"one_step_off": True}, "nft": {"old_decay_slope": 0.2}}
    settings = {"max_steps": 3, **own.get(algorithm, {})}
    whole = one_step_off(new_run(f"total_{algorithm}", **settings), Eager())
    whole.train()
    run = new_run(f"total_{algorithm}", **settings, save_steps=1)
    first = one_step_off(run, Eager())
    first.add_callback(Killed(1))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = one_step_off(run, Eager())
    second.train(resume_from_checkpoint=str(run.series.newest_whole()))
    expected, found = weights_of(whole), weights_of(second)
    assert expected.keys() == found.keys() and any(name.startswith(AHEAD) for name in expected)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for name in ("reward", "loss", "rollout/staleness"):
        assert logged(second, name) == logged(whole, name), name


@pytest.mark.usefixtures("quick_reward")
def test_a_run_that_gets_its_actors_later_goes_on(new_run: Any) -> None:
    """The checkpoint lacks the weights of the next clips: the present ones make them."""
    run = new_run("total_awm", max_steps=2, save_steps=2)
    trained(run, 0)
    trainer = one_step_off(new_run("total_awm", max_steps=3), Eager())
    trainer.train(resume_from_checkpoint=str(run.series.newest_whole()))
    assert trainer.state.global_step == 3
    assert not torch.equal(*(next(iter(trainer.copies[name].values.values())) for name in (AHEAD, "moving")))


def test_without_actors_one_step_off_is_refused(new_run: Any) -> None:
    with pytest.raises(ConfigError, match="one_step_off = True needs actors"):
        trained(new_run("total_nft", one_step_off=True), 0)


def test_the_next_clips_are_scored_while_an_update_runs(
    new_run: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """Each update but the last waits for them, in vain if they were begun after it."""
    scored: list[str] = []

    def reward(prompts: list[str], completions: list[Any], **_: Any) -> list[float]:
        scored.extend(prompts)
        return [float(clip.frames.mean()) for clip in completions]

    class Waiting(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            batches = min(state.global_step + 2, args.max_steps)
            until(lambda: len(scored) >= 6 * batches, "the clips of the next update")

    monkeypatch.setattr("engine.training.build._rewards", lambda preset: [reward])
    trainer = one_step_off(new_run("total_awm", one_step_off=True, max_steps=3), Eager())
    trainer.add_callback(Waiting())
    trainer.train()
    assert len(scored) == 6 * 3
