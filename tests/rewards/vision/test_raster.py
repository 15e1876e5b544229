"""Combs and grids are found in single pictures, films and noise are not taken for them, and neither pays."""

from functools import cache

import numpy as np
import pytest

from rewards.clip import Clip
from rewards.features import ClipFeatures
from rewards.matrix import perturbations
from rewards.matrix.attacks import oversharpened
from rewards.matrix.reference_clips import read_reference
from rewards.metrics.aesthetic import technical_quality
from rewards.vision.raster import periodicity, raster_share
from tests.rewards.conftest import real_clip, render_clip

TUNING = ("tuning/bear.mp4", "tuning/cat.mp4", "tuning/teddy.mp4", "tuning/apple.mp4")


@cache
def film(name: str) -> np.ndarray:
    """`uint8[9,H,W,3]` of a reference clip, or of a clip of ../shared/videos."""
    frames = real_clip(name, num_frames=9).frames if "/" in name else read_reference("real")[name].frames[20:29]
    return np.asarray(frames)


def woven(frames: np.ndarray) -> np.ndarray:
    """The even rows of each frame with the odd rows of the frame two later: interlaced video shown whole."""
    out = frames[:-2].copy()
    out[:, 1::2] = frames[2:, 1::2]
    return out


def gridded(frames: np.ndarray, step_px: int, level: int) -> np.ndarray:
    out = frames.copy()
    out[:, ::step_px] = out[:, :, ::step_px] = level
    return out


def quality(frames: np.ndarray) -> float:
    features = ClipFeatures(Clip(frames=np.ascontiguousarray(frames), fps=24.0))
    return float(technical_quality(features, np.array([0, len(frames) - 1])).mean())


@pytest.mark.parametrize("name", ["carphone", "bunny", "tree", *TUNING])
@pytest.mark.parametrize(
    "damage", [perturbations.unchanged, perturbations.noise, perturbations.jitter, perturbations.blur, oversharpened]
)
def test_films_are_no_raster(name: str, damage: object) -> None:
    assert max(raster_share(frame) for frame in damage(film(name))[::4]) < 0.4


def test_rendered_shapes_are_no_raster() -> None:
    for name, clip in read_reference("mini").items():
        assert max(raster_share(frame) for frame in clip.frames[::4]) < 0.1, name


@pytest.mark.parametrize("name", ["bunny", "tuning/bear.mp4", "tuning/teddy.mp4"])
def test_fields_of_different_times_are_a_comb(name: str) -> None:
    assert np.median([raster_share(frame) for frame in woven(film(name))]) > 0.6
    assert quality(woven(film(name))) < quality(film(name)) - 0.2


@pytest.mark.parametrize("name", ["carphone", "bunny", "tree", "tuning/apple.mp4"])
@pytest.mark.parametrize(("step_px", "level"), [(4, 0), (16, 0), (32, 255)])
def test_equal_lines_across_the_picture_are_a_grid(name: str, step_px: int, level: int) -> None:
    damaged = gridded(film(name)[:5], step_px, level)
    assert min(raster_share(frame) for frame in damaged) > 0.7
    assert quality(damaged) < quality(film(name)[:5]) - 0.3


@pytest.mark.parametrize("name", ["carphone", "bunny", "tree", *TUNING])
@pytest.mark.parametrize(("amount", "saturation"), [(2.0, 1.7), (1.0, 1.3), (0.5, 1.0)])
def test_exaggerated_edges_and_colours_are_rated_no_higher(name: str, amount: float, saturation: float) -> None:
    frames = film(name)
    assert quality(oversharpened(frames, amount, saturation)) <= quality(frames) + 0.005


def test_a_profile_of_period_7_repeats_and_noise_does_not() -> None:
    spikes = np.zeros(200, np.float32)
    spikes[::7] = 10
    assert periodicity(spikes)[0] == pytest.approx(1, abs=0.03)
    assert periodicity(np.random.default_rng(0).normal(size=200).astype(np.float32))[0] < 0.5
    assert periodicity(np.zeros(200, np.float32)) == (0, 0)
    assert raster_share(render_clip(num_frames=1).frames[0][:5, :5]) == 0
