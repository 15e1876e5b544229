"""Previews of unfinished clips: what they show, and that they neither delay, change nor outlive a job."""

import gc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.config.presets import load_preset
from engine.errors import FamilyError
from engine.families.registry import open_model
from engine.generation import previews
from engine.generation.context import ClipReady
from engine.generation.pipeline import generate
from engine.generation.previews import FRAMES, fit_colours, fitted_colours, picture, with_previews
from engine.request import GenerationRequest
from engine.sampling.sampler import DenoiseStep

REQUEST = GenerationRequest(
    prompt="a red circle moving right", num_frames=9, width=32, height=32, num_steps=4, guidance=2.5, seed=11
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.jpg"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview after each step, whatever it costs."""
    monkeypatch.setattr(previews, "PERIOD_S", 0.0)
    monkeypatch.setattr(previews, "SHARE", 1e9)


def last_step(latents: torch.Tensor) -> DenoiseStep:
    return DenoiseStep(
        index=0, sigma=0.5, sigma_next=0.0, latents=latents, next_latents=latents, log_prob=None, noise_std=0.0
    )


def test_the_colours_of_mini_are_seen(mini_folder: Path) -> None:
    family = open_model(load_preset("models", "mini"))
    frames = np.full((1, 9, 64, 64, 3), (200, 200, 200), np.uint8)
    frames[:, :, :32, :32] = (220, 20, 20)
    frames[:, :, 32:, 32:] = (20, 20, 200)
    shown = picture(family, last_step(family.encode_frames(frames)), fit_colours(family))
    side = shown.shape[1]
    assert shown.shape == (FRAMES * side, side, 3)
    for frame in shown.reshape(FRAMES, side, side, 3).astype(int):
        red, blue, grey = (
            frame[rows, columns].mean((0, 1))
            for rows, columns in (
                (slice(side // 3), slice(side // 3)),
                (slice(-side // 3, None), slice(-side // 3, None)),
                (slice(side // 3), slice(-side // 3, None)),
            )
        )
        assert red[0] > red[1] + 80 and red[0] > red[2] + 80, red
        assert blue[2] > blue[0] + 80 and blue[2] > blue[1] + 80, blue
        assert np.ptp(grey) < 60 and grey.min() > 120, grey


@pytest.mark.usefixtures("at_once")
def test_a_preview_is_there_after_a_step_and_gone_with_the_clip(tiny_family: Any, path: Path) -> None:
    wanted = [REQUEST, REQUEST.with_seed(12)]
    plain = [event.clip.frames for event in generate(tiny_family, wanted) if isinstance(event, ClipReady)]
    sizes, made = [], []
    for event in with_previews(generate(tiny_family, wanted), tiny_family, path):
        if isinstance(event, ClipReady):
            assert not path.exists()
            made.append(event.clip.frames)
        elif event.latest is not None:
            sizes.append(path.stat().st_size)
            with Image.open(path) as shown:
                width, height = shown.size
                assert shown.format == "JPEG" and height == FRAMES * width // 2
    assert len(sizes) == REQUEST.num_steps and max(sizes) <= previews.LIMIT_BYTES
    assert not [*path.parent.iterdir()]
    assert all(np.array_equal(one, other) for one, other in zip(plain, made, strict=True))


@pytest.mark.usefixtures("at_once")
def test_a_cancelled_job_leaves_no_preview(tiny_family: Any, path: Path) -> None:
    with closing(with_previews(generate(tiny_family, [REQUEST]), tiny_family, path)) as events:
        next(event for event in events if not isinstance(event, ClipReady) and event.latest is not None)
        assert path.exists()
    assert not path.exists()


@pytest.mark.usefixtures("at_once")
def test_a_folder_that_cannot_be_written_costs_only_the_preview(tiny_family: Any, tmp_path: Path) -> None:
    events = with_previews(generate(tiny_family, [REQUEST]), tiny_family, tmp_path / "nowhere" / "job.jpg")
    assert sum(isinstance(event, ClipReady) for event in events) == 1


def previews_of(family: Any, path: Path) -> Iterator[bool]:
    """For each step, whether a preview was written after it."""
    for event in with_previews(generate(family, [REQUEST]), family, path):
        if not isinstance(event, ClipReady) and event.latest is not None:
            yield path.exists()
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(("period_s", "share", "expected"), [(0.0, 1e-9, 1), (3600.0, 1e9, 0), (0.0, 1e9, 4)])
def test_previews_are_as_rare_as_their_cost_demands(
    tiny_family: Any, path: Path, monkeypatch: pytest.MonkeyPatch, period_s: float, share: float, expected: int
) -> None:
    monkeypatch.setattr(previews, "PERIOD_S", period_s)
    monkeypatch.setattr(previews, "SHARE", share)
    assert sum(previews_of(tiny_family, path)) == expected


def test_a_vae_that_cannot_encode_gives_grey_previews(
    tiny_folder: Path, open_family: Any, caplog: pytest.LogCaptureFixture
) -> None:
    family = open_family(tiny_folder)
    for weights in family.vae.encoder.parameters():
        weights.data.fill_(torch.nan)
    with pytest.raises(FamilyError):
        fit_colours(family)
    assert fitted_colours(family) is None and "Previews are grey" in caplog.text
    latents = torch.randn((5, 4, 3, 4, 8), generator=torch.Generator().manual_seed(0))
    shown = picture(family, last_step(latents), None)
    assert (shown == shown[:, :, :1]).all() and np.ptp(shown) > 100
    assert shown.shape == (FRAMES * previews.LONGEST_PX // 2, previews.MAX_CLIPS * previews.LONGEST_PX, 3)


def test_colours_are_fitted_once_for_each_loaded_model(tiny_folder: Path, open_family: Any) -> None:
    family = open_family(tiny_folder)
    assert fitted_colours(family) is fitted_colours(family)
    before = len(previews._FITTED)
    del family
    gc.collect()
    assert len(previews._FITTED) == before - 1
