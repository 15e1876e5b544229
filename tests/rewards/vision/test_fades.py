"""A fade is told from flicker and from a cut, and costs neither the distance over time nor the seam."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from rewards import Clip, RewardResult, load_reward
from rewards.calibration import read_calibration
from rewards.features import ClipFeatures
from rewards.gates import MIXTURE_SHARE, liveness_gate
from rewards.matrix import attacks, perturbations
from rewards.matrix.reference_clips import read_reference
from rewards.vision.fades import fade_gains, mixture_share, without_fade

FADE_STEPS = 14
Fade = Callable[[np.ndarray], np.ndarray]


@cache
def film() -> Clip:
    clip = read_reference("real")["carphone"]
    return replace(clip, frames=clip.frames[:48])


def faded_in(frames: np.ndarray) -> np.ndarray:
    gains = np.minimum(1, np.arange(len(frames)) / FADE_STEPS)
    return np.rint(frames * gains[:, None, None, None]).astype(np.uint8)


def faded_out(frames: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(faded_in(frames[::-1])[::-1])


def features_of(clip: Clip) -> ClipFeatures:
    return ClipFeatures(clip, calibration=read_calibration("real"), backends={"lpips": "mini"})


def value(key: str, clip: Clip) -> float:
    result: RewardResult = load_reward(key).score(features_of(clip))
    assert result.value is not None
    return result.value


@pytest.mark.parametrize("fade", [faded_in, faded_out])
def test_a_fade_is_found_for_its_length(fade: object) -> None:
    gains = fade_gains(features_of(replace(film(), frames=fade(film().frames))))
    found = np.flatnonzero(gains != 1)
    assert len(found) in (FADE_STEPS - 1, FADE_STEPS) and np.ptp(found) == len(found) - 1


@pytest.mark.parametrize(
    "damage", [perturbations.unchanged, perturbations.flicker, perturbations.noise, perturbations.blur]
)
def test_flicker_and_films_are_no_fade(damage: object) -> None:
    assert np.all(fade_gains(features_of(replace(film(), frames=damage(film().frames)))) == 1)


def test_both_pictures_are_compared_at_the_darker_level() -> None:
    bright, dark = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 100, np.uint8)
    for pair, gain in (((dark, bright), 2.0), ((bright, dark), 0.5)):
        first, second = without_fade(*pair, gain)
        assert np.all(first == 100) and np.all(second == 100)
    assert without_fade(bright, dark, 1.0)[0] is bright


@pytest.mark.parametrize("fade", [faded_in, faded_out])
def test_a_fade_does_not_change_the_distance_over_time(fade: object) -> None:
    whole, faded = value("t_lpips", film()), value("t_lpips", replace(film(), frames=fade(film().frames)))
    assert faded == pytest.approx(whole, abs=0.15)
    assert value("t_lpips", replace(film(), frames=perturbations.flicker(film().frames))) < whole - 0.1


@pytest.mark.parametrize("length", [17, 33])
@pytest.mark.parametrize("fade", [faded_in, faded_out])
@pytest.mark.parametrize("name", ["carphone", "bunny", "tree"])
def test_a_fade_neither_looks_like_a_cross_fade_nor_hides_one(name: str, fade: Fade, length: int) -> None:
    """Its nearly black frames have no picture of their own."""
    clip = read_reference("real")[name]
    whole = clip.frames[:length]
    plain, faded = (features_of(replace(clip, frames=frames)) for frames in (whole, fade(whole)))
    assert mixture_share(faded) == pytest.approx(mixture_share(plain), abs=0.1)
    assert liveness_gate(faded) == pytest.approx(liveness_gate(plain), abs=0.1)
    mixed = fade(attacks.cross_fade(whole))
    assert mixture_share(features_of(replace(clip, frames=mixed))) > MIXTURE_SHARE[0]


@pytest.mark.parametrize("seam", [7, 14, 24])
def test_a_fade_is_no_seam(seam: int) -> None:
    whole, faded = film(), replace(film(), frames=faded_in(film().frames))
    assert value("seam", replace(faded, seams=(seam,))) > value("seam", replace(whole, seams=(seam,))) - 0.15
