"""In-between pictures by flow: they move what moves, keep what stands, and know what they cannot know."""

import numpy as np

from engine.generation.flow_interpolation import blend_keyframes, merge_keyframes


def ground() -> np.ndarray:
    """A textured ground, 64x64."""
    return np.random.default_rng(1).integers(90, 130, (8, 8, 3)).repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


def square(x: int, y: int = 20) -> np.ndarray:
    """A textured square on it."""
    rng, picture = np.random.default_rng(0), ground()
    picture[y : y + 20, x : x + 20] = rng.integers(180, 255, (10, 10, 3)).repeat(2, axis=0).repeat(2, axis=1)
    return picture


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / (np.mean((a.astype(float) - b.astype(float)) ** 2) + 1e-9)))


def test_what_moves_is_moved_not_faded() -> None:
    first, last, middle = square(10), square(18), square(14)
    blend = blend_keyframes(np.stack([first, last]), (0, 8), 9)
    fade = (first.astype(int) + last) // 2
    assert blend.frames.shape == (9, 64, 64, 3) and blend.frames.dtype == np.uint8
    assert psnr(blend.frames[4], middle) > psnr(fade, middle) + 3


def test_keyframes_are_at_their_places_and_the_ends_stand_still() -> None:
    first, last = square(10), square(18)
    blend = blend_keyframes(np.stack([first, last]), (2, 6), 9)
    assert np.array_equal(blend.frames[2], first) and np.array_equal(blend.frames[6], last)
    assert np.array_equal(blend.frames[0], first) and np.array_equal(blend.frames[8], last)
    assert blend.trust[2].min() == 1 and blend.trust[0].max() == 0 and blend.trust[8].max() == 0


def test_what_appears_is_not_trusted() -> None:
    same = blend_keyframes(np.stack([square(20), square(20)]), (0, 4), 5)
    assert same.trust[2].mean() > 0.95 and psnr(same.frames[2], square(20)) > 40
    appears = blend_keyframes(np.stack([ground(), square(20)]), (0, 4), 5)
    assert appears.trust[2, 20:40, 20:40].mean() < same.trust[2, 20:40, 20:40].mean() - 0.1


def test_neighbouring_keyframes_have_nothing_between() -> None:
    blend = blend_keyframes(np.stack([square(10), square(12)]), (0, 1), 2)
    assert np.array_equal(blend.frames, np.stack([square(10), square(12)]))


def test_keyframes_settle_without_a_flicker() -> None:
    """With frames a little darker than the keyframes, the square stays intact and no frame stands out."""
    moving = np.stack([square(10 + frame) for frame in range(9)])
    dark = (moving * 0.9).astype(np.uint8)
    settled = merge_keyframes(dark, moving[[0, 8]], (0, 8))
    assert np.array_equal(settled[[0, 8]], moving[[0, 8]])
    assert all(psnr(settled[frame], moving[frame]) > psnr(dark[frame], moving[frame]) + 3 for frame in range(1, 8))
    brightness = settled.mean(axis=(1, 2, 3))
    assert np.abs(np.diff(brightness)).max() < 0.3 * (moving - dark).mean()


def test_frames_that_have_nothing_to_settle_stay_as_they_are() -> None:
    moving = np.stack([square(10 + frame) for frame in range(5)])
    assert np.array_equal(merge_keyframes(moving, moving[[0, 4]], (0, 4)), moving)
    one = merge_keyframes(moving, moving[[2]] // 2, (2,))
    assert np.array_equal(one[[0, 1, 3, 4]], moving[[0, 1, 3, 4]]) and np.array_equal(one[2], moving[2] // 2)
