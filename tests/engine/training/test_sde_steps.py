"""SDE steps that would ruin clips stop the run, before it starts and in each rollout."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from engine.errors import ConfigError, TrainingError
from engine.sampling import steps as steps
from engine.sampling.steps import StepResult, gaussian_log_prob, ode_step
from engine.training.preflight.checks import PreflightCheck, preflight
from engine.training.trainer_settings import VideoGRPOConfig
from engine.training.trainers.grpo import VideoGRPOTrainer

WAN = {
    "_class_name": "UniPCMultistepScheduler",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
    "prediction_type": "flow_prediction",
}


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def made(open_tiny: Callable[[], Any], folder: Path, **others: Any) -> VideoGRPOTrainer:
    settings = {"use_cpu": True, "disable_tqdm": True, "max_steps": 1, "lora_rank": 2, "num_frames": 9, "fps": 8.0}
    settings |= {"width": 32, "height": 32, "num_steps": 4, "per_device_train_batch_size": 4, "num_generations": 4}
    args = VideoGRPOConfig(output_dir=str(folder), **{**settings, **others})
    family = open_tiny()
    family.scheduler_config = WAN
    return VideoGRPOTrainer(model=family, reward_funcs=brightness, args=args, train_dataset=["a red circle"] * 4)


def verdicts(trainer: VideoGRPOTrainer) -> dict[str, PreflightCheck]:
    return {verdict.name: verdict for verdict in preflight(trainer)}


def test_wans_schedule_passes(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    found = verdicts(made(open_tiny, tmp_path))
    assert found["noise"].level == found["latents"].level == found["replay"].level == "ok"
    assert found["noise"].sentence == "The SDE steps add noise of std 0.61 to 0.81."


def test_a_step_that_is_out_of_proportion_stops_the_run(
    open_tiny: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault itself: UniPC's first level, 0.999999, taken for a level below pure noise."""
    monkeypatch.setattr(steps, "PURE_NOISE", 0.0)
    trainer = made(open_tiny, tmp_path)
    found = verdicts(trainer)
    assert found["noise"].level == "stop" and "Step 1 of the rollout adds noise of std 220" in found["noise"].sentence
    assert "latents" not in found, "no clip is made with it"
    with pytest.raises(TrainingError, match=r"before its weights change. Step 1 .* std 220 .* lower noise_level"):
        trainer.train()


def test_later_windows_are_looked_at_too(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    found = verdicts(made(open_tiny, tmp_path, window=1, noise_level=1.65))
    assert found["noise"].level == "stop" and "Step 2 of" in found["noise"].sentence


def careless(
    prediction: Tensor, latents: Tensor, sigma: float, sigma_next: float, noise: Any = None, next_latents: Any = None
) -> StepResult:
    """Noise in proportion, without the pull that makes room for it."""
    mean, std = ode_step(prediction, latents, sigma, sigma_next).next_latents, 1.2 * sigma_next
    taken = mean + std * noise if next_latents is None else next_latents
    return StepResult(
        next_latents=taken, mean=mean, std=std, log_prob=gaussian_log_prob(taken, mean, std) if std else None
    )


def test_latents_that_are_out_of_proportion_stop_the_run(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    trainer = made(open_tiny, tmp_path)
    trainer.sde_step_function = lambda: careless  # type: ignore[method-assign]
    found = verdicts(trainer)
    assert found["noise"].level == "ok"
    assert found["latents"].level == "stop" and "the SDE steps spoil the clips" in found["latents"].sentence


def test_latents_of_a_wrong_scale_stop_the_run(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    trainer = made(open_tiny, tmp_path)
    trainer.family.network.proj_out.weight.data *= 1000
    assert "The finished latents have std" in verdicts(trainer)["latents"].sentence


def test_log_ratios_that_do_not_move_at_all_stop_the_run(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    found = verdicts(made(open_tiny, tmp_path, learning_rate=1e-30))["clip_range"]
    assert found.level == "stop"
    assert "moves log ratios by 0.0e+00 (at most 0.0e+00): no clip would become more or less likely" in found.sentence


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, 0.7),
        ({"sde_form": "dance"}, 0.3),
        ({"sde_form": "cps"}, 0.7),
        ({"sde_form": "ddim"}, 1.0),
        ({"sde_form": "dance", "noise_level": 0.7}, 0.7),
    ],
)
def test_each_form_has_a_noise_level_of_its_own(settings: dict[str, Any], level: float, tmp_path: Path) -> None:
    assert VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, **settings).sde_noise_level == level


def test_a_noise_level_that_cps_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="noise_level must be at most 1 for sde_form cps, got 1.5"):
        VideoGRPOConfig(output_dir=str(tmp_path), use_cpu=True, sde_form="cps", noise_level=1.5)
