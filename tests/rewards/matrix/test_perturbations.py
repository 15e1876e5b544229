"""Damage is what it says: same shape, same result twice, and measurable in its own terms."""

import numpy as np
import pytest

from rewards import Clip, RewardError
from rewards.matrix import perturbations
from tests.rewards.conftest import render_clip
from tools.rewards.procedural import draw_clip
from tools.rewards.seams import MAKERS, blend

FRAMES = render_clip(num_frames=49).frames
OTHER = render_clip("left", num_frames=49, background="night").frames


@pytest.mark.parametrize("key", perturbations.PERTURBATIONS)
def test_same_frames_out_for_the_same_frames_in(key: str) -> None:
    change = perturbations.PERTURBATIONS[key]
    before = FRAMES.copy()
    clip, other = (Clip(frames=frames, fps=8, prompt="a red star") for frames in (FRAMES, OTHER))
    once, twice = (change.damage(clip, other).frames for _ in range(2))
    assert np.array_equal(once, twice) and np.array_equal(FRAMES, before)
    assert once.dtype == np.uint8 and once.shape == (round(len(FRAMES) * change.rate), *FRAMES.shape[1:])
    assert np.array_equal(once[: len(FRAMES)], FRAMES) == change.prompt


def test_damage_keeps_what_it_does_not_touch() -> None:
    clip = Clip(frames=FRAMES, fps=8, prompt="a red star", seams=(24,))
    other = Clip(frames=OTHER, fps=8, prompt="a blue heart")
    slow, wrong = (perturbations.PERTURBATIONS[key].damage(clip, other) for key in ("double_rate", "wrong_prompt"))
    assert (slow.fps, slow.seams, slow.prompt) == (16, (48,), "a red star")
    assert (wrong.fps, wrong.seams, wrong.prompt) == (8, (24,), "a blue heart")


def test_order_only_changes() -> None:
    assert np.array_equal(perturbations.reverse(perturbations.reverse(FRAMES)), FRAMES)
    assert np.array_equal(perturbations.flip(perturbations.flip(FRAMES)), FRAMES)
    assert np.array_equal(np.sort(perturbations.shuffle(FRAMES), axis=0), np.sort(FRAMES, axis=0))
    repeated = perturbations.repeat(FRAMES, period=16)
    assert np.array_equal(repeated[16:32], FRAMES[:16])
    bounced = perturbations.ping_pong(FRAMES, period=16)
    assert np.array_equal(bounced[15:31], FRAMES[15::-1]) and np.array_equal(bounced[30:45], FRAMES[:15])


def test_a_cut_shows_the_other_clip_from_there_on() -> None:
    cut = perturbations.cut_to(FRAMES, OTHER, at=20)
    assert np.array_equal(cut[:20], FRAMES[:20]) and np.array_equal(cut[20:], OTHER[:29])
    with pytest.raises(RewardError, match="needs 29 frames"):
        perturbations.cut_to(FRAMES, OTHER[:5], at=20)


def test_noise_and_flicker_have_their_stated_size() -> None:
    grey = perturbations.grey(FRAMES)
    assert perturbations.noise(grey).std() == pytest.approx(15, rel=0.02)
    levels = perturbations.flicker(grey).mean(axis=(1, 2, 3)) / 128
    assert 0.85 <= levels.min() < 0.9 and 1.1 < levels.max() <= 1.15


@pytest.mark.parametrize("maker", MAKERS)
def test_a_seam_changes_nothing_before_it_but_its_overlap(maker: str) -> None:
    broken = MAKERS[maker](FRAMES, 24, np.random.default_rng(1))
    assert broken.shape == FRAMES.shape and broken.dtype == np.uint8
    assert np.array_equal(broken[:14], FRAMES[:14])
    assert not np.array_equal(broken, FRAMES)


def test_blending_is_linear_over_the_overlap() -> None:
    dark, light = np.zeros_like(FRAMES), np.full_like(FRAMES, 200)
    levels = blend(dark, light, at=20, frames=4)[:, 0, 0, 0]
    assert levels[16:21].tolist() == [0, 50, 100, 150, 200]
    assert not levels[:16].any() and (levels[20:] == 200).all()


def test_procedural_clips_move_and_are_reproducible() -> None:
    clip = draw_clip(np.random.default_rng(3), 9, 64)
    assert clip.shape == (9, 64, 64, 3) and clip.dtype == np.uint8
    assert np.array_equal(clip, draw_clip(np.random.default_rng(3), 9, 64))
    assert np.abs(clip[-1].astype(int) - clip[0]).mean() > 1
