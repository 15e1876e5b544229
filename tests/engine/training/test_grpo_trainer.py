"""GRPO's options in a trainer: which steps are random, exact replays, and losses of the first update."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ConfigError
from engine.sampling.steps import prediction_gain, sde_coefficients
from engine.seeds import generator_for
from engine.training.preflight.checks import PreflightCheck, preflight
from engine.training.rollout.rollouts import generate_rollouts, stack_steps
from engine.training.trainer_settings import VideoGRPOConfig
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import trainable

PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
FLASH = {"step_choice": "per_prompt", "window": 1, "step_weight": "gradient"}
OPTIONS: dict[str, dict[str, Any]] = {
    "flash": FLASH,
    "flash_wan": {**FLASH, "sde_form": "wan_sde", "step_share": 0.51},
    "sage": {"sde_form": "sage", "step_choice": "random", "window": 2},
    "random": {"step_choice": "random", "window": 3},
    "guard": {"ratio": "guard", "epsilon": 2e-6},
    "guard_random": {"ratio": "guard", "step_choice": "per_prompt", "window": 2},
    "mask": {"ratio": "kl_mask", "epsilon": 1e-5},
    "weighted": {"step_weight": "gradient", "sde_form": "cps"},
}
Open = Callable[[], Any]


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def trainer_of(open_tiny: Open, folder: Path, **options: Any) -> VideoGRPOTrainer:
    settings = {"use_cpu": True, "disable_tqdm": True, "max_steps": 2, "lora_rank": 2, "num_frames": 9, "fps": 8.0}
    settings |= {"width": 32, "height": 32, "num_steps": 8, "guidance": 1.0, "num_generations": 4, "logging_steps": 1}
    settings |= {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "seed": 3}
    args = VideoGRPOConfig(output_dir=str(folder), **{**settings, **options})
    return VideoGRPOTrainer(model=open_tiny(), reward_funcs=brightness, args=args, train_dataset=PROMPTS)


def steps_of(batch: RolloutBatch) -> dict[str, set[tuple[int, ...]]]:
    """The SDE steps of each prompt's clips."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for row, request in enumerate(batch.rollouts.requests):
        numbers = tuple(step.index[row] for step in batch.rollouts.steps)
        found.setdefault(request.prompt, set()).add(numbers)
    return found


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_replays_exactly_and_trains(name: str, open_tiny: Open, tmp_path: Path) -> None:
    """Before the first update every ratio is 1, nothing is cut, and the loss is minus the weighted advantages."""
    trainer = trainer_of(open_tiny, tmp_path, **OPTIONS[name])
    batches = trainer.first_generation_batch()
    assert max(trainer.replay_error(batch) for batch in batches) <= 1e-6
    batch = batches[0]
    total = sum(float(part.detach()) for part in trainer.losses(batch))
    weights = torch.stack([trainer._weights(stack_steps([step], batch.index)) for step in batch.rollouts.steps])
    assert total == pytest.approx(float(-(weights * batch.advantages).mean()), rel=1e-4, abs=1e-5)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2 and logged[0]["clip_ratio"] == 0


def test_clips_of_a_prompt_share_a_step_and_prompts_differ(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, **FLASH, step_share=0.6)
    found = steps_of(trainer.first_generation_batch()[0])
    assert set(found) == set(PROMPTS) and all(len(numbers) == 1 for numbers in found.values())
    drawn = {number for numbers in found.values() for (number,) in numbers}
    assert len(drawn) > 1 and drawn <= set(range(4)), "8 steps, of which 0.6 are the first 4"
    assert trainer.sde_steps([trainer.template]) == trainer.sde_steps([trainer.template]), "no state"


def test_random_steps_are_those_of_all_prompts_and_change(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, step_choice="random", window=2)
    found = steps_of(trainer.first_generation_batch()[0])
    (numbers,) = set.union(*found.values())
    assert len(numbers) == 2 and numbers[1] - numbers[0] > 1
    drawn = set()
    for trainer.state.global_step in range(12):
        drawn.add(trainer.sde_steps([trainer.template])[0])
    assert len(drawn) > 3


def test_a_mixed_batch_makes_the_clips_of_each_prompt_alone(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, **FLASH)
    made = trainer.first_generation_batch()[0].rollouts
    for start in range(0, 16, 4):
        requests = made.requests[start : start + 4]
        kept = trainer.sde_steps(requests)
        alone = generate_rollouts(
            trainer.family,
            requests,
            trainer.prompts,
            sde_step_function=trainer.sde_step_function(),
            kept=kept,
            decode=False,
        )
        torch.testing.assert_close(made.latents[start : start + 4], alone.latents, rtol=1e-4, atol=1e-4)
        step, one = made.steps[0], alone.steps[0]
        assert step.index[start : start + 4] == one.index and step.noise_std[start : start + 4] == one.noise_std
        assert step.log_prob is not None and one.log_prob is not None
        torch.testing.assert_close(step.log_prob[start : start + 4], one.log_prob, rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_the_schedule(open_tiny: Open, tmp_path: Path) -> None:
    """1 / gain of each clip's own step, over the mean of the steps that may be drawn."""
    trainer = trainer_of(open_tiny, tmp_path, **FLASH)
    batch, levels = trainer.first_generation_batch()[0], trainer.noise_levels()
    inverse = [1 / prediction_gain(trainer.sde_step_function(), *levels[at : at + 2]) for at in range(7)]
    (step,) = batch.rollouts.steps
    wanted = [inverse[number] / (sum(inverse) / 7) for number in step.index]
    assert trainer._weights(step).tolist() == pytest.approx(wanted, rel=1e-5)
    assert len(set(wanted)) > 1


def test_the_guards_loss_is_divided_by_the_steps_length(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, ratio="guard")
    levels = trainer.noise_levels()
    for number, step in enumerate(trainer.first_generation_batch()[0].rollouts.steps):
        wanted = 1 / (levels[number] - levels[number + 1])
        assert trainer._weights(stack_steps([step], [0])).tolist() == pytest.approx([wanted], rel=1e-5)


@pytest.mark.parametrize("together", [3, 9])
@pytest.mark.parametrize("name", ["plain", "guard"])
def test_steps_in_one_pass_have_the_gradient_of_single_passes(
    together: int, name: str, open_tiny: Open, tmp_path: Path
) -> None:
    """7 SDE steps as 3 + 3 + 1 and all at once, with the KL to the model before training."""
    options = {"plain": {"beta": 0.1}, "guard": {"ratio": "guard"}}[name]
    trainer = trainer_of(open_tiny, tmp_path, **options)
    with torch.no_grad():
        for _, parameter in trainable(trainer.family.network):
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator_for(5))
    (batch, *_) = trainer.first_generation_batch()
    with torch.no_grad():
        for _, parameter in trainable(trainer.family.network):
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator_for(6))
    found = []
    for trainer.args.steps_per_replay in (1, together):
        parts = list(trainer.losses(batch))
        assert len(parts) == -(-7 // trainer.args.steps_per_replay)
        sum(parts).backward()  # type: ignore[union-attr]
        found.append(torch.cat([p.grad.flatten() for _, p in trainable(trainer.family.network) if p.grad is not None]))
        trainer.family.network.zero_grad()
    assert found[0].norm() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4 * float(found[0].abs().max()))


def check_of(trainer: VideoGRPOTrainer, name: str) -> PreflightCheck:
    return next(check for check in preflight(trainer) if check.name == name)


def test_noise_that_stays_in_the_clips_is_a_warning(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path / "late")
    sigma, sigma_next = trainer.noise_levels()[6:8]
    std, drift = sde_coefficients("flow_grpo", 0.7, sigma, sigma_next)
    surplus, late = math.hypot(sigma_next - drift, std) / sigma_next, check_of(trainer, "excess_noise")
    assert late.level == "warning" and f"(step 7 of 8) leaves {surplus:.2f} times" in late.sentence
    early = check_of(trainer_of(open_tiny, tmp_path / "early", step_share=0.5, **FLASH), "excess_noise")
    assert early.level == "ok" and "step 4 of 8" in early.sentence
    assert check_of(trainer_of(open_tiny, tmp_path / "cps", sde_form="cps"), "excess_noise").level == "ok"


def test_sage_begins_after_the_step_from_pure_noise(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, sde_form="sage")
    assert trainer.noise_levels()[0] == 1
    assert trainer.sde_steps([trainer.template]) == [(1, 2, 3, 4, 5, 6)] == [tuple(trainer.reached_steps())]
    std, drift = sde_coefficients("sage", 0.7, *trainer.noise_levels()[6:8])
    surplus = math.hypot(trainer.noise_levels()[7] - drift, std) / trainer.noise_levels()[7]
    assert f"(step 7 of 8) leaves {surplus:.2f} times" in check_of(trainer, "excess_noise").sentence


def test_a_window_is_looked_at_where_the_run_takes_it(open_tiny: Open, tmp_path: Path) -> None:
    trainer = trainer_of(open_tiny, tmp_path, window=2, window_every=1, max_steps=4)
    assert trainer.reached_steps() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["guard", "mask"])
def test_the_clip_range_is_compared_with_what_it_limits(name: str, open_tiny: Open, tmp_path: Path) -> None:
    options = {**OPTIONS[name], "learning_rate": 1e-3, "num_iterations": 2}
    found = check_of(trainer_of(open_tiny, tmp_path, **options), "clip_range")
    assert ("the steps' divergence" if name == "mask" else "log ratios") in found.sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step_choice": "random"}, "needs window"),
        ({"step_choice": "per_prompt"}, "needs window"),
        ({"step_share": 0.0}, "step_share must be above 0"),
        ({"ratio": "guard", "step_weight": "gradient"}, "its own weights"),
        ({"ratio": "kl_mask", "epsilon_high": 1e-3}, "epsilon_high = 0.001 would have no effect"),
        ({"step_choice": "random", "window": 4}, "4 steps without neighbours do not fit among 7"),
        ({"step_choice": "window", "window": 5, "step_share": 0.5}, "a window of 5 does not fit"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], sentence: str, open_tiny: Open, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        trainer_of(open_tiny, tmp_path, **options)


def test_latents_between_consecutive_steps_are_kept_once(open_tiny: Open, tmp_path: Path) -> None:
    """All steps of all clips may take more memory than the model."""
    rollouts = trainer_of(open_tiny, tmp_path, rollout_batch=5).first_generation_batch()[0].rollouts
    assert len(rollouts.steps) == 7
    for before, after in pairwise(rollouts.steps):
        assert after.latents.data_ptr() == before.next_latents.data_ptr()
    apart = trainer_of(open_tiny, tmp_path, step_choice="random", window=3).first_generation_batch()[0].rollouts
    assert all((one.latents != other.latents).any() for one, other in pairwise(apart.steps))


def test_clips_are_handed_over_as_soon_as_they_are_decoded(open_tiny: Open, tmp_path: Path) -> None:
    """In pairs, before the next ones: a slow reward begins with the first group, not with the whole batch."""
    trainer = trainer_of(open_tiny, tmp_path)
    requests, given, events = trainer.requests_for([{"prompt": PROMPTS[0]}] * 5, 0), list[Any](), list[int]()
    decode = trainer.family.decode

    def decoding(latents: torch.Tensor) -> Any:
        events.append(len(latents))
        return decode(latents)

    trainer.family.decode = decoding
    made = generate_rollouts(
        trainer.family, requests, trainer.prompts, decoded=lambda few: (given.extend(few), events.append(-len(few)))
    )
    assert events == [2, -2, 2, -2, 1, -1]
    assert [id(clip) for clip in given] == [id(clip) for clip in made.clips]


def test_preflight_replays_in_batches_of_the_updates_shape(open_tiny: Open, tmp_path: Path) -> None:
    """In bfloat16 a row's rounding depends on that shape."""
    trainer = trainer_of(open_tiny, tmp_path, steps_per_replay=3)
    batch, sizes = trainer.first_generation_batch()[0], list[int]()
    trainer.family.network.register_forward_pre_hook(
        lambda _, given, named: sizes.append(len(named["hidden_states"])), with_kwargs=True
    )
    for part in trainer.losses(batch):
        part.backward()
    updates = sizes.copy()
    sizes.clear()
    trainer.replay_error(batch)
    assert sizes == updates == [24, 24, 8]
