"""What preflight stops instead of failing at it, and what it leaves behind: nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config.presets import load_model_preset
from engine.errors import TrainingError
from engine.families.registry import open_model
from engine.training.evaluation.motion import motion_of
from engine.training.preflight.checks import PreflightCheck, preflight, raise_if_blocked
from engine.training.trainer_settings import VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable
from rewards import Mix, as_reward_funcs, mix_reward_func

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
        raise_if_blocked(found)


@pytest.mark.parametrize(
    ("pay", "level", "says"), [(-1, "warning", "static clips may be"), (1, "ok", "does not favour")]
)
def test_a_reward_that_pays_for_standing_still_is_told_of(
    pay: float, level: str, says: str, open_tiny: Open, tmp_path: Path
) -> None:
    """Beside a louder one that says the same of all clips of a prompt, and one that knows only some clips."""

    def speed(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
        return [pay * motion_of(clip) for clip in completions]

    def length(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
        return [100.0 * len(prompt) for prompt in prompts]

    def seldom(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float | None]:
        return [1e6 if number % 4 == 0 else None for number in range(len(prompts))]

    args = VideoNFTConfig(output_dir=str(tmp_path), num_generations=4, gradient_accumulation_steps=4, **SETTINGS)
    rewards, prompts = [speed, length, seldom], [*PROMPTS, "a green star", "a cyan heart"]
    trainer = VideoNFTTrainer(model=open_tiny(), reward_funcs=rewards, args=args, train_dataset=prompts)
    found = next(one for one in preflight(trainer) if one.name == "motion")
    assert found.level == level and says in found.sentence and "4 prompts" in found.sentence


@pytest.mark.parametrize("parts", [True, False])
def test_a_reward_whose_network_is_not_installed_stops_the_run(
    parts: bool, open_tiny: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run would learn from the others alone. The sentence says how to get it."""
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    mix = Mix(key="m", title="", weights={"clip_vid": 2.0, "flow_smoothness": 1.0}, calibration="real")
    rewards = as_reward_funcs(mix) if parts else mix_reward_func(mix)
    found = preflight(online(open_tiny(), tmp_path, rewards))
    (stop,) = (one for one in found if one.level == "stop")
    assert stop.sentence.startswith("The reward 'clip_vid' is missing. ") and "`dailies weights get" in stop.sentence
    assert stop.outside, "the run can be resumed once the network is there"


def test_a_reward_that_applies_to_no_clip_is_told_of(open_tiny: Open, tmp_path: Path) -> None:
    def never(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float | None]:
        return [None] * len(prompts)

    found = preflight(online(open_tiny(), tmp_path, [brightness, never]))
    (told,) = (one for one in found if "'never' applies to no clip" in one.sentence)
    assert told.level == "warning" and not any(one.level == "stop" for one in found)


def test_each_pair_is_looked_at_with_noise_of_its_own(open_tiny: Open, tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (8, 9, 32, 32, 3), np.uint8)
    rows = [{"prompt": "a star", "chosen": one, "rejected": clips[number - 1]} for number, one in enumerate(clips)]
    trainer = VideoDPOTrainer(
        model=open_tiny(), args=VideoDPOConfig(output_dir=str(tmp_path), **SETTINGS), train_dataset=rows
    )
    drawn, draw = [], trainer.draw_noise

    def noted(clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        noise, sigma = draw(clean)
        drawn.append((float(noise.sum()), float(sigma)))
        return noise, sigma

    trainer.draw_noise = noted  # type: ignore[method-assign]
    preflight(trainer)
    noises, levels = (set(values) for values in zip(*drawn, strict=True))
    assert len(drawn) == len(noises) == len(levels) == 8


def test_another_alpha_than_the_continued_adapters_is_told_of(open_tiny: Open, tmp_path: Path) -> None:
    first = online(open_tiny(), tmp_path, brightness, lora_alpha=8)
    (told,) = (
        one for one in preflight(online(first.family, tmp_path, brightness, lora_alpha=2)) if one.name == "alpha"
    )
    assert told.level == "warning" and "lora_alpha is 2, but the run continues an adapter of alpha 8" in told.sentence
    assert not any(one.name == "alpha" for one in preflight(online(first.family, tmp_path, brightness, lora_alpha=8)))


@pytest.mark.parametrize(
    ("error", "epsilon", "level"),
    [(1e-7, 2e-6, "ok"), (8e-6, 2e-6, "stop"), (8e-6, 1e-3, "ok"), (5e-5, 1e-3, "warning"), (5e-4, 1e-3, "stop")],
)
def test_a_replay_error_is_compared_with_the_clip_range(
    error: float, epsilon: float, level: str, open_tiny: Open, tmp_path: Path
) -> None:
    args = VideoGRPOConfig(output_dir=str(tmp_path), num_generations=4, epsilon=epsilon, **SETTINGS)
    trainer = VideoGRPOTrainer(model=open_tiny(), reward_funcs=brightness, args=args, train_dataset=PROMPTS)
    trainer.replay_error = lambda _: error  # type: ignore[method-assign]
    assert next(one for one in preflight(trainer) if one.name == "replay").level == level


def test_two_prompts_say_nothing_of_standing_still(open_tiny: Open, tmp_path: Path) -> None:
    found = next(one for one in preflight(online(open_tiny(), tmp_path, brightness)) if one.name == "motion")
    assert found.level == "unknown" and "too few" in found.sentence


def test_pairs_of_one_clip_are_stopped(open_tiny: Open, tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (2, 9, 32, 32, 3), np.uint8)
    rows = [{"prompt": prompt, "chosen": clip, "rejected": clip} for prompt, clip in zip(PROMPTS, clips, strict=True)]
    args = VideoDPOConfig(output_dir=str(tmp_path), **SETTINGS)
    found = preflight(VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=rows))
    assert [(one.name, one.level) for one in found] == [("frames", "ok"), ("pairs", "stop")]
    assert "of the first 2 pairs are the same" in found[-1].sentence


def test_pairs_of_another_shape_than_the_settings_say_are_warned_of(open_tiny: Open, tmp_path: Path) -> None:
    chosen, rejected = np.random.default_rng(0).integers(0, 255, (2, 2, 16, 32, 48, 3), np.uint8)
    rows = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in zip(PROMPTS, chosen, rejected, strict=True)]
    args = VideoDPOConfig(output_dir=str(tmp_path), **SETTINGS)
    told = {v.name: v for v in preflight(VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=rows))}
    assert told["clips"].level == "warning"
    assert "The clips are trained at 9 frames of 48x32 px, not at 9 of 32x32" in told["clips"].sentence


def test_nothing_of_preflight_is_logged_as_training(open_tiny: Open, tmp_path: Path) -> None:
    trainer = online(open_tiny(), tmp_path, brightness)
    assert {one.name for one in preflight(trainer)} >= {"rewards", "groups"}
    assert not trainer.sums


@pytest.mark.parametrize(
    ("batches", "accumulated", "prompts", "updates", "stops"),
    [
        (4, 3, 12, 4, [4, 8, 12, 16]),
        (4, 2, 4, 2, [2, 4, 6, 8, 10, 12, 14, 16]),
        (2, 4, 8, 1, list(range(1, 17))),
        (6, 4, 8, 3, [3, 6, 9, 12, 15]),
        (3, 2, 6, 5, [3, 5, 8, 10, 13, 15]),  # nine batches an epoch: its fifth update has one of them
    ],
)
def test_a_run_stops_only_where_an_update_ends_with_its_clips(
    batches: int, accumulated: int, prompts: int, updates: int, stops: list[int], open_tiny: Open, tmp_path: Path
) -> None:
    """A generation batch is of two prompts."""
    trainer = online(open_tiny(), tmp_path, brightness)
    trainer.train_dataset = [{"prompt": f"prompt {number}"} for number in range(prompts)]
    trainer.args.steps_per_generation, trainer.args.gradient_accumulation_steps = batches, accumulated
    trainer.args.generation_batch_size = 2 * trainer.args.num_generations
    assert trainer.updates_per_generation == updates
    found = []
    for step in range(1, 17):
        trainer.state.global_step = step
        found += [step] if trainer.is_safe_stop else []
    assert found == stops


# ------------------------------------------------------------------------------------------------------- clip range


def clip_range(model: Any, folder: Path, **others: Any) -> tuple[VideoGRPOTrainer, PreflightCheck]:
    settings = {**SETTINGS, "num_steps": 4, "num_generations": 4, "num_iterations": 2, **others}
    args = VideoGRPOConfig(output_dir=str(folder), **settings)
    trainer = VideoGRPOTrainer(model=model, reward_funcs=brightness, args=args, train_dataset=PROMPTS)
    return trainer, next(one for one in preflight(trainer) if one.name == "clip_range")


def test_the_clip_range_is_held_against_what_one_update_moves(open_tiny: Open, tmp_path: Path) -> None:
    """What is foretold is what the ratios are after the first update, so that a range about that wide is right."""
    trainer, told = clip_range(open_tiny(), tmp_path, learning_rate=1e-3, epsilon=1e-12)
    assert told.level == "warning" and "cuts 100% of them" in told.sentence
    moved = trainer.first_changes(trainer.first_generation_batch())
    typical = float(moved.abs().median())
    assert f"moves log ratios by {typical:.1e}" in told.sentence
    assert f"set epsilon to about {2 * typical:.0e}" in told.sentence

    _, fitting = clip_range(open_tiny(), tmp_path, learning_rate=1e-3, epsilon=2 * typical)
    assert fitting.level == "ok"
    _, wide = clip_range(open_tiny(), tmp_path, learning_rate=1e-3, epsilon=0.2)
    assert wide.level == "warning" and "never acts" in wide.sentence


def test_a_range_that_cannot_act_is_not_complained_of(open_tiny: Open, tmp_path: Path) -> None:
    _, told = clip_range(open_tiny(), tmp_path, learning_rate=1e-2, epsilon=1e-12, num_iterations=1)
    assert told.level == "ok" and "all ratios are 1 and nothing is cut" in told.sentence


def test_the_update_that_is_tried_is_the_one_that_is_made(open_tiny: Open, tmp_path: Path) -> None:
    """Adam's first step goes against the gradient's sign, so the trial's ratios are those of the second iteration."""
    trainer, _ = clip_range(open_tiny(), tmp_path, learning_rate=1e-3, epsilon=1.0, warmup_steps=0, weight_decay=0.0)
    trainer.train_dataset = trainer.train_dataset[:1]
    tried = trainer.first_changes(trainer.first_generation_batch())
    noted: list[float] = []
    note = trainer.log_metric
    trainer.log_metric = lambda **values: (
        noted.extend(float(v) for k, v in values.items() if k == "ratio/spread"),
        note(**values),
    )  # type: ignore[method-assign]
    trainer.train()
    half = len(noted) // 2
    assert max(noted[:half]) < 1e-6
    np.testing.assert_allclose(max(noted[half:]), float(tried.abs().max()), rtol=0.05)


def test_bfloat16_replays_exactly(tiny_model: str, tmp_path: Path) -> None:
    """Log-probabilities are float32 whatever the network computes in, and a replay has the rollout's arithmetic."""
    preset = load_model_preset(tiny_model).model_copy(update={"dtype": "bfloat16"})
    family = open_model(preset, device="cpu")
    trainer, _ = clip_range(family, tmp_path, learning_rate=1e-3, epsilon=1e-4)
    (replay,) = (one for one in preflight(trainer) if one.name == "replay")
    assert replay.level == "ok" and "differ by at most 0.0e+00" in replay.sentence
    steps = trainer.first_generation_batch()[0].rollouts.steps
    assert {step.log_prob.dtype for step in steps if step.log_prob is not None} == {torch.float32}
    assert next(family.network.parameters()).dtype == torch.bfloat16


def test_preflight_leaves_the_weights_alone(open_tiny: Open, tmp_path: Path) -> None:
    model = open_tiny()
    trainer, _ = clip_range(model, tmp_path, learning_rate=1e-2)
    before = {name: value.detach().clone() for name, value in trainable(model.network)}
    preflight(trainer)
    for name, value in trainable(model.network):
        assert (value == before[name]).all() and value.grad is None, name


# ----------------------------------------------------------------------------------------- what the rewards look at


def test_rewards_must_see_what_generate_makes(open_tiny: Open, tmp_path: Path) -> None:
    trainer = online(open_tiny(), tmp_path, brightness)
    assert {("fps", "ok"), ("tiling", "ok")} <= {(one.name, one.level) for one in preflight(trainer)}
    trainer.family.vae.enable_tiling()
    roll_out = trainer._generate_rollouts

    def faster(requests: Any, scoring: Any) -> Any:
        made = roll_out(requests, scoring)
        return replace(made, clips=[replace(clip, fps=24.0) for clip in made.clips])

    trainer._generate_rollouts = faster  # type: ignore[method-assign]
    told = {one.name: one for one in preflight(trainer)}
    assert told["fps"].level == told["tiling"].level == "stop"
    assert "The model is conditioned on 8 fps, but clips are scored at 24 fps." in told["fps"].sentence
    assert "Set tile_vae = true" in told["tiling"].sentence
