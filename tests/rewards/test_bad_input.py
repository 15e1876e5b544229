"""Degenerate clips: each reward gives a finite value, None with a reason, or one clear error."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from rewards import REWARDS, Clip, Mix, RewardError, comprehensive_reward, read_mix
from rewards.suite import RewardSuite

from .conftest import render_clip

MINI = read_mix(Path(__file__).resolve().parents[2] / "presets" / "rewards" / "mini.toml")
MIX = Mix(key="all", title="", weights=dict.fromkeys(REWARDS, 1.0), calibration="mini", backends=MINI.backends)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


CLIPS = {
    "one frame": lambda: render_clip().frames[:1],
    "two frames": lambda: render_clip().frames[:2],
    "three frames": lambda: render_clip().frames[:3],
    "65 frames": lambda: render_clip(num_frames=65).frames,
    "uniform grey": lambda: np.full((33, 64, 64, 3), 128, np.uint8),
    "black": lambda: np.zeros((65, 64, 64, 3), np.uint8),
    "16x16": lambda: noise(20, 16, 16, 3),
    "1x1": lambda: noise(20, 1, 1, 3),
    "tall": lambda: noise(4, 256, 40, 3),
    "odd size": lambda: noise(5, 61, 67, 3),
    "4K": lambda: np.repeat(np.repeat(noise(3, 135, 240, 3), 16, axis=1), 16, axis=2),
    "not contiguous": lambda: np.repeat(render_clip().frames, 2, axis=2)[::-1, :, ::2],
    "noise": lambda: noise(48, 64, 64, 3),
}


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        *(pytest.param(name, "", id=name) for name in CLIPS),
        *(pytest.param(name, "a red star " * 1000, id=f"{name}, long prompt") for name in ("one frame", "noise")),
    ],
)
def test_every_reward_gives_a_finite_value_or_a_reason(name: str, prompt: str) -> None:
    frames = CLIPS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a NaN in the making
        clip = Clip(frames=frames, fps=8, prompt=prompt, first_picture=np.ascontiguousarray(frames[0, ::-1]))
        report = RewardSuite(MIX).score(clip)
    assert len(frames) < 2 or report.results["first_frame"].value is not None
    for key, result in report.results.items():
        if result.value is None:
            assert result.reason.endswith("."), key
        else:
            assert math.isfinite(result.value) and 0 <= result.value <= 1
            assert 0 <= result.confidence <= 1, key
        if result.per_frame is not None:
            assert len(result.per_frame) == len(frames)
            assert not np.isinf(result.per_frame).any()
        assert all(math.isfinite(v) for v in result.details.values()), key
    assert all(0 <= level <= 1 for level in report.gates.values())
    assert report.total is None or math.isfinite(report.total)


@pytest.mark.parametrize("key", REWARDS)
@pytest.mark.parametrize("name", ["one frame", "two frames", "65 frames", "uniform grey"])
def test_pictures_fit_the_clip(key: str, name: str) -> None:
    suite = RewardSuite(MIX)
    features = suite.features(Clip(frames=CLIPS[name](), fps=8))
    for picture in suite.overlays(features, key).values():
        assert picture.dtype == np.uint8 and picture.shape == features.frames.shape


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 3, 64, 64), np.uint8),
        np.zeros((4, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
        [[1, 2], [3, 4]],
    ],
    ids=["CHW", "float", "one picture", "no frames", "a list"],
)
def test_other_frames_are_refused_in_one_sentence(frames: np.ndarray) -> None:
    with pytest.raises(RewardError, match=r"A clip needs frames uint8\[T,H,W,3\]"):
        comprehensive_reward("a red star", frames)


@pytest.mark.parametrize(("given", "named"), [(None, "NoneType"), ([[1, 2]], "list"), ("a film.mp4", "str")])
def test_what_is_no_array_is_named(given: object, named: str) -> None:
    with pytest.raises(RewardError, match=f"but got the type {named}\\."):
        Clip(frames=given, fps=8)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf])
def test_other_frame_rates_are_refused(fps: float) -> None:
    with pytest.raises(RewardError, match="positive frame rate"):
        comprehensive_reward("a red star", render_clip().frames, fps=fps)
