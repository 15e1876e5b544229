"""Properties of the world: one ground truth per scene, low-chroma backgrounds, speed at any length."""

import numpy as np
import pytest

from engine.mini import world

SCENES = [world.sample_scene(np.random.default_rng([5, k])) for k in range(200)]


def only(motion: str, *, loop: bool = False, background: str = "white", **place: float) -> world.Scene:
    subject = world.Subject("circle", "red", "small", place.pop("x", 32.0), place.pop("y", 32.0), **place)
    return world.Scene((subject,), motion, background, loop=loop)


@pytest.mark.parametrize("num_frames", [1, 17, 33])
def test_a_clip_has_the_asked_frames_of_64_px(num_frames: int) -> None:
    frames = world.render(SCENES[0], num_frames)
    assert frames.shape == (num_frames, 64, 64, 3)
    assert frames.dtype == np.uint8


def test_the_same_seed_draws_the_same_clip() -> None:
    once, again = (world.sample_scene(np.random.default_rng(3)) for _ in range(2))
    assert once == again
    assert np.array_equal(world.render(once, 17), world.render(again, 17))


def test_a_short_clip_is_the_beginning_of_a_long_one() -> None:
    for scene in SCENES[:20]:
        assert np.array_equal(world.render(scene, 33)[:17], world.render(scene, 17))


def test_held_out_scenes_are_about_one_in_ten_and_kept_apart() -> None:
    assert 0.05 < np.mean([world.is_held_out(scene) for scene in SCENES]) < 0.17
    rng = np.random.default_rng(0)
    assert all(world.is_held_out(world.sample_scene(rng, held_out=True)) for _ in range(10))
    assert not any(world.is_held_out(world.sample_scene(rng, held_out=False)) for _ in range(10))


def test_every_word_of_the_world_is_drawn() -> None:
    assert {scene.motion for scene in SCENES} == set(world.MOTIONS)
    assert {scene.background for scene in SCENES} == set(world.BACKGROUNDS)
    assert {subject.colour for scene in SCENES for subject in scene.shown} == set(world.COLOURS)
    assert {subject.shape for scene in SCENES for subject in scene.shown} == set(world.SHAPES)


@pytest.mark.parametrize("background", world.BACKGROUNDS)
def test_backgrounds_stay_paler_than_every_subject(background: str) -> None:
    frame = world.render(world.Scene((), "still", background), 1).astype(int)
    palest_subject = min(max(rgb) - min(rgb) for rgb in world.COLOURS.values())
    assert np.ptp(frame, axis=-1).max() < 60 < 90 < palest_subject


@pytest.mark.parametrize("direction", world.DIRECTIONS)
def test_directions_move_that_way_at_one_speed(direction: str) -> None:
    scene = only(direction)
    steps = np.diff(world.track(scene, scene.subjects[0], 10)[:, :2], axis=0)
    assert np.allclose(steps, world.SPEED_PX * np.array(world.DIRECTIONS[direction]))


@pytest.mark.parametrize("direction", world.DIRECTIONS)
def test_what_leaves_on_one_side_comes_back_on_the_other(direction: str) -> None:
    scene = only(direction)
    path = world.track(scene, scene.subjects[0], 129)
    assert (np.abs(np.diff(path[:, :2], axis=0)) > world.SIZE_PX / 2).any()
    assert ((path[:, :2] > -13) & (path[:, :2] < world.SIZE_PX + 13)).all()


@pytest.mark.parametrize("motion", world.LOOPABLE)
def test_a_loop_shows_the_same_picture_after_16_frames(motion: str) -> None:
    frames = world.render(only(motion, loop=True), 49).astype(int)
    assert np.abs(frames[16:] - frames[:-16]).max() <= 1
    assert np.abs(frames[8] - frames[0]).max() > 50


@pytest.mark.parametrize("motion", world.LOOPABLE)
def test_without_looping_the_picture_does_not_come_back(motion: str) -> None:
    frames = world.render(only(motion), 33).astype(int)
    assert np.abs(frames[16:] - frames[:-16]).max() > 50


def test_a_late_object_is_not_seen_before_its_time_and_then_stands_still() -> None:
    late = world.Subject("star", "blue", "small", 32.0, 14.0)
    scene = world.Scene((world.Subject("circle", "red", "small", 32.0, 47.0),), "still", "white", late=late)
    frames = world.render(scene, 33).astype(int)
    blue = (frames[..., 2] - frames[..., 0] > 100).sum(axis=(1, 2))
    assert (blue[: world.LATE_FRAME + 1] == 0).all()
    assert (blue[world.LATE_FRAME + 7 :] == blue[-1]).all()
    assert blue[-1] > 50


def test_every_scene_shows_its_subjects_in_the_first_picture() -> None:
    for scene in SCENES:
        bare = world.render(world.Scene((), "still", scene.background), 1)[0].astype(int)
        for subject in scene.subjects:
            alone = world.Scene((subject,), scene.motion, scene.background, loop=scene.loop)
            drawn = world.render(alone, 1)[0].astype(int)
            assert (np.abs(drawn - bare).max(axis=-1) > 40).sum() > 40, scene


def test_shapes_of_one_radius_cover_similar_but_different_areas() -> None:
    grid_y, grid_x = np.mgrid[-20:20, -20:20] + 0.5
    areas = {shape: int((world.signed_distance(shape, grid_x, grid_y, 13.0) < 0).sum()) for shape in world.SHAPES}
    assert len(set(areas.values())) == len(world.SHAPES)
    assert max(areas.values()) < 3 * min(areas.values())


def test_an_unknown_shape_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="hexagon.*circle"):
        world.signed_distance("hexagon", np.zeros(1), np.zeros(1), 1.0)
