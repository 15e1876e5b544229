"""Steered predictions inside the one loop: held frames come out exactly, pulls fade, windows add up to the whole."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.family_interface import Conditioning, FamilySpec, Prediction
from engine.generation.constraints import (
    GUIDE_UNTIL,
    FixedFrames,
    GuidedFrames,
    OverlappingWindows,
    prediction_for_clean,
)
from engine.sampling.forward_process import add_noise, predict_x0_and_noise
from engine.sampling.sampler import denoise

NOTHING = Conditioning(embeds=torch.zeros(1, 1, 1))
SIGMAS = torch.tensor([0.99, 0.8, 0.5, 0.2, 0.0])
KINDS = pytest.mark.parametrize("of", ["flow", "epsilon", "v_prediction"])


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class Smoother:
    """A network that says: clean frames are a smooth version of what it sees, neighbours included."""

    of: Prediction = "flow"
    seen: Any = None
    levels: Any = None
    longest: int = 0

    @property
    def spec(self) -> FamilySpec:
        return FamilySpec(
            key="x", title="X", prediction=self.of, frame_stride=1, frame_offset=0, size_multiple=1, lora_targets=()
        )

    def predict(self, latents: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        self.seen, self.levels, self.longest = latents, sigma, max(self.longest, latents.shape[2])
        clean = 0.3 * (latents + latents.mean(dim=2, keepdim=True))
        return prediction_for_clean(clean, latents, float(sigma.max()), self.spec)


def final(family: Any, latents: Tensor) -> Tensor:
    return list(denoise(family, latents, SIGMAS, NOTHING))[-1].next_latents


@KINDS
@pytest.mark.parametrize("native", [True, False])
def test_held_frames_come_out_as_they_are(of: Prediction, native: bool) -> None:
    clean, noise = draw(0, 1, 2, 5, 3, 3), draw(1, 1, 2, 5, 3, 3)
    held = torch.tensor([True, False, True, False, False])
    network = Smoother(of=of)
    out = final(FixedFrames(family=network, clean=clean, held=held, noise=noise, native=native), noise)
    assert (out[:, :, held] - clean[:, :, held]).abs().max() <= 1e-5
    free = final(Smoother(of=of), noise)
    assert (out[:, :, ~held] - free[:, :, ~held]).abs().max() > 1e-3, "the others see the held ones"


def test_native_families_see_held_frames_clean_at_level_0() -> None:
    clean, noise = draw(0, 2, 2, 4, 3, 3), draw(1, 2, 2, 4, 3, 3)
    network = Smoother()
    held = torch.tensor([True, True, False, False])
    family = FixedFrames(family=network, clean=clean, held=held, noise=noise, native=True)
    family.predict(torch.cat([noise, noise]), torch.full((4,), 0.7), NOTHING)
    assert torch.equal(network.seen[2:, :, held], clean[:, :, held]), "both branches of guidance"
    assert network.levels[3].tolist() == pytest.approx([0, 0, 0.7, 0.7])


@KINDS
def test_other_families_see_them_at_the_level_of_the_rest(of: Prediction) -> None:
    clean, noise = draw(0, 1, 2, 4, 3, 3), draw(1, 1, 2, 4, 3, 3)
    network = Smoother(of=of)
    held = torch.tensor([True, False, False, False])
    FixedFrames(family=network, clean=clean, held=held, noise=noise, native=False).predict(
        draw(2, 1, 2, 4, 3, 3), torch.tensor([0.6]), NOTHING
    )
    assert torch.allclose(network.seen[:, :, held], add_noise(of, clean, noise, 0.6)[:, :, held])
    assert network.levels.tolist() == pytest.approx([0.6])


@KINDS
def test_pulls_are_strong_early_and_gone_late_and_only_where_trusted(of: Prediction) -> None:
    latents, target = draw(0, 1, 2, 4, 3, 3), draw(1, 1, 2, 4, 3, 3)
    trust = torch.zeros(1, 1, 4, 3, 3)
    trust[:, :, :2] = 1

    def clean_at(level: float, strength: float) -> Tensor:
        family = GuidedFrames(family=Smoother(of=of), target=target, trust=trust, strength=strength)
        return predict_x0_and_noise(of, family.predict(latents, torch.tensor([level]), NOTHING), latents, level)[0]

    free, pulled = clean_at(0.9, 0.0), clean_at(0.9, 1.0)
    weight = (0.9 - GUIDE_UNTIL) / (1 - GUIDE_UNTIL)
    expected = free[:, :, :2] + weight * (target - free)[:, :, :2]
    assert torch.allclose(pulled[:, :, :2], expected, atol=1e-4)
    assert torch.allclose(pulled[:, :, 2:], free[:, :, 2:], atol=1e-4)
    assert torch.equal(clean_at(GUIDE_UNTIL - 0.01, 1.0), clean_at(GUIDE_UNTIL - 0.01, 0.0))


def test_one_window_is_the_whole_clip() -> None:
    noise = draw(0, 1, 2, 6, 3, 3)
    assert torch.allclose(
        final(OverlappingWindows(family=Smoother(), windows=[(0, 6)]), noise), final(Smoother(), noise)
    )


def test_windows_see_no_more_than_themselves_and_meet_without_a_step() -> None:
    noise = draw(0, 1, 2, 20, 3, 3) * 0.1 + torch.linspace(0, 1, 20).view(1, 1, 20, 1, 1)
    network = Smoother()
    out = final(OverlappingWindows(family=network, windows=[(0, 8), (6, 14), (12, 20)]), noise)
    assert network.longest == 8 and out.shape == noise.shape
    # The mean of a window is another in each, so clips of separate windows would jump where they meet.
    apart = torch.cat([final(Smoother(), noise[:, :, a:b]) for a, b in [(0, 7), (7, 13), (13, 20)]], dim=2)
    steps, jumps = (clip.mean(dim=(0, 1, 3, 4)).diff().abs() for clip in (out, apart))
    assert steps.max() < 0.75 * jumps.max()
