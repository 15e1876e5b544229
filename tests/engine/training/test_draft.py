"""DRaFT: its loss by hand, its gradient against differences of the reward, and its trainer on a tiny model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.algorithms.draft import draft_loss, weighted_reward
from engine.errors import ConfigError
from engine.training.prompt_settings import VideoDraftConfig
from engine.training.trainers.draft import VideoDraftTrainer
from engine.training.weights import trainable
from rewards import Mix, as_reward_funcs
from rewards.calibration import read_calibration
from rewards.clip import Clip
from rewards.differentiable import half_mean_half_worst, pixel_reward
from rewards.suite import RewardSuite
from rewards.time_series import over_time

PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
Open = Callable[[], Any]


def linear(frames: Tensor, prompts: Sequence[str]) -> Tensor:
    """The mean of red less half of blue: linear in the pixels."""
    return frames[:, :, 0].mean((1, 2, 3)) - 0.5 * frames[:, :, 2].mean((1, 2, 3))


def redness(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    return [float((clip.frames[..., 0].mean() - 0.5 * clip.frames[..., 2].mean()) / 255) for clip in completions]


redness.of_pixels = linear  # type: ignore[attr-defined]


def make(family: Any, folder: Path, reward: Any = redness, **others: Any) -> VideoDraftTrainer:
    plain = {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 1,
        "max_steps": 2,
        "seed": 3,
        "lr_scheduler_type": "constant",
        "num_frames": 9,
        "width": 32,
        "height": 32,
        "num_steps": 3,
        "guidance": 2.0,
        "per_device_train_batch_size": 2,
        "lora_rank": 4,
    }
    args = VideoDraftConfig(**{**plain, **others})
    return VideoDraftTrainer(model=family, reward_funcs=reward, args=args, train_dataset=PROMPTS)


def weights_of(trainer: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


def test_the_loss_is_that_of_the_hand() -> None:
    first, second = torch.tensor([0.2, 0.6]), torch.tensor([1.0, 0.0])
    reward = weighted_reward([first, second], torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(reward, torch.tensor([0.4, 0.45]), atol=1e-6, rtol=0)
    distances = [torch.tensor([0.1, 0.3]), torch.tensor([0.3, 0.1])]
    torch.testing.assert_close(draft_loss(reward, distances, 0.5), torch.tensor([-0.3, -0.35]), atol=1e-6, rtol=0)
    torch.testing.assert_close(draft_loss(reward, [], 0.5), -reward)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_gradient_through_all_steps_is_that_of_the_reward(
    guidance: float, open_tiny: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Central differences of the loss along a random direction of the weights.

    In float64 and with a small step: pixels are clamped, so that the loss has kinks, and float32 rounds too much.
    """
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    family = open_tiny()
    for part in (family.network, family.vae, family.text_encoder):
        part.double()
    trainer = make(family, tmp_path, backprop_steps=3, guidance=guidance)
    family.network.double()
    drawn_latents = family.init_latents
    monkeypatch.setattr(family, "init_latents", lambda *given: drawn_latents(*given).double())
    rows = [{"prompt": PROMPTS[0]}]
    drawn = torch.Generator().manual_seed(1)
    weights = [parameter for _, parameter in trainable(trainer.family.network)]
    with torch.no_grad():
        for weight in weights:
            weight += 0.3 * torch.randn(weight.shape, generator=drawn)
    ways = [torch.randn(weight.shape, generator=drawn) for weight in weights]

    def moved(by: float) -> float:
        with torch.no_grad():
            for weight, way in zip(weights, ways, strict=True):
                weight += by * way
            value = sum(float(part.detach()) for part in trainer.losses(rows))
            for weight, way in zip(weights, ways, strict=True):
                weight -= by * way
        return value

    sum(trainer.losses(rows)).backward()  # type: ignore[union-attr]
    slope = sum(float((weight.grad * way).sum()) for weight, way in zip(weights, ways, strict=True))  # type: ignore[operator]
    differences = (moved(1e-4) - moved(-1e-4)) / 2e-4
    assert abs(slope) > 1e-4
    assert slope == pytest.approx(differences, rel=0.03)


def test_only_the_last_steps_have_a_graph(open_tiny: Open, tmp_path: Path) -> None:
    calls: list[bool] = []
    family = open_tiny()
    trainer = make(family, tmp_path, backprop_steps=2, guidance=1.0)
    family.network.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    list(trainer.losses([{"prompt": PROMPTS[0]}]))
    assert calls == [False, True, True]


def test_a_part_of_the_frames_is_scored(open_tiny: Open, tmp_path: Path) -> None:
    seen: list[int] = []

    def counted(frames: Tensor, prompts: Sequence[str]) -> Tensor:
        seen.append(frames.shape[1])
        return linear(frames, prompts)

    def reward(*_: Any, **__: Any) -> list[float | None]:
        return []

    reward.of_pixels = counted  # type: ignore[attr-defined]
    for decode_frames in (None, 1):
        list(make(open_tiny(), tmp_path, reward, decode_frames=decode_frames).losses([{"prompt": PROMPTS[0]}]))
    assert seen[0] == 9 > seen[1]


def test_resumed_is_the_run_that_was_never_stopped(open_tiny: Open, tmp_path: Path) -> None:
    whole = make(open_tiny(), tmp_path / "whole")
    whole.train()
    make(open_tiny(), tmp_path / "parts", max_steps=1).train()
    again = make(open_tiny(), tmp_path / "parts")
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-1"))
    wanted = weights_of(whole)
    for name, value in weights_of(again).items():
        assert torch.equal(value, wanted[name]), name


def test_settings_and_rewards_that_cannot_work_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    mix = Mix(key="m", title="M", weights={"clip_vid": 1.0, "seam": 1.0, "aesthetic": 1.0}, calibration="mini")
    with pytest.raises(ConfigError, match="No gradient flows through seam, aesthetic: draft needs clip_vid, or"):
        make(open_tiny(), tmp_path, as_reward_funcs(mix))
    with pytest.raises(ConfigError, match="backprop_steps is 4, but a clip has 3 steps"):
        make(open_tiny(), tmp_path, backprop_steps=4)
    with pytest.raises(ConfigError, match="backprop_steps and decode_frames must be 1 or more, but got 0"):
        make(open_tiny(), tmp_path, backprop_steps=0)


# --------------------------------------------------------------------------------------------------------- the rewards


def test_half_the_mean_and_half_the_worst_is_the_same_as_without_gradients() -> None:
    values = np.random.default_rng(0).normal(size=23)
    assert float(half_mean_half_worst(torch.tensor(values))) == pytest.approx(over_time(values, worst="low"), abs=1e-6)


def test_clip_vid_of_pixels_is_clip_vid(root: Path) -> None:
    """On frames of the network's own size; the scores are the calibrated raw values, without the clamp."""
    weights, backends = {"clip_vid": 1.0}, {"clip": "mini"}
    mix = Mix(key="m", title="M", weights=weights, calibration="mini", backends=backends)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (17, 64, 64, 3), np.uint8)
    prompt = "a red ball moving right over a meadow"
    (report,) = RewardSuite(mix).score_many([Clip(frames=frames, fps=8.0, prompt=prompt)])
    calibration = read_calibration("mini")
    score = pixel_reward(mix, "clip_vid", calibration)
    assert score is not None
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)[None].requires_grad_()
    found = score(pixels, [prompt])
    raw = report.results["clip_vid"].raw
    assert raw is not None
    anchors = calibration.anchors_of("clip_vid.mini")
    assert float(found.detach()) == pytest.approx((raw - anchors.bad) / (anchors.good - anchors.bad), abs=1e-3)
    found.sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_what_cannot_be_differentiated_has_no_function_of_pixels() -> None:
    mix = Mix(key="m", title="M", weights={"clip_vid": 1.0, "seam": 1.0, "aesthetic": 1.0}, calibration="mini")
    found = {function.__name__: function.of_pixels is not None for function in as_reward_funcs(mix)}  # type: ignore[attr-defined]
    assert found == {"clip_vid": True, "seam": False, "aesthetic": False}
    learned = mix.model_copy(update={"backends": {"aesthetic": "laion"}})
    assert pixel_reward(learned, "aesthetic", read_calibration("mini")) is not None
