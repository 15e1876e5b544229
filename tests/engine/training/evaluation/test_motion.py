"""The speed of a clip, and whether a reward pays for slowness, on what is known."""

import math

import numpy as np
import pytest

from engine.training.evaluation.motion import motion_of, reward_speed_correlation
from rewards.clip import Clip


def moving(px_a_frame: int) -> Clip:
    """A textured square that goes right."""
    texture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    frames = np.full((9, 256, 256, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        left = 20 + px_a_frame * number
        frame[96:160, left : left + 64] = texture
    return Clip(frames=frames, fps=8.0, prompt="a square")


def test_speed_grows_with_the_way_and_a_still_clip_has_none() -> None:
    still, slow, fast = (motion_of(moving(step)) for step in (0, 2, 6))
    assert still == pytest.approx(0, abs=0.5)
    assert still < slow < fast


def test_the_pay_is_a_correlation_within_prompts() -> None:
    prompts = ["slow"] * 3 + ["fast"] * 3
    speeds = [1.0, 2.0, 3.0, 11.0, 12.0, 13.0]
    against = reward_speed_correlation(speeds, [0.3, 0.2, 0.1, 0.9, 0.8, 0.7], prompts)
    assert against.mean == pytest.approx(-1) and against.of == 2, "though the faster prompt earns more"
    mixed = reward_speed_correlation(speeds, [0.1, 0.2, 0.3, 0.9, 0.8, 0.7], prompts)
    assert mixed.mean == pytest.approx(0) and mixed.low < 0 < mixed.high


def test_what_says_nothing_is_left_out() -> None:
    prompts = ["a"] * 3 + ["b"] * 3 + ["c"]
    speeds = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 1.0]
    assert reward_speed_correlation(speeds, [0.3, math.nan, 0.1, 0.1, 0.2, 0.3, 0.5], prompts).of == 1
    assert reward_speed_correlation(speeds, [math.nan] * 7, prompts).of == 0
