"""The judge scores clips of the world, gives degraded clips lower scores, and noise a low score."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import ConfigError
from engine.mini import world
from engine.mini.judge import ATTRIBUTES, evaluate, judge, main, measure, read

SCENES = [world.sample_scene(np.random.default_rng([17, k])) for k in range(30)]


def scene_of(motion: str, *, loop: bool = False, shape: str = "circle", colour: str = "red") -> world.Scene:
    return world.Scene((world.Subject(shape, colour, "medium", 32.0, 32.0),), motion, "white", loop=loop)


def as_generated(frames: np.ndarray, rng: np.random.Generator, warp_px: float, blur_px: float) -> np.ndarray:
    """Add the defects of a small video model: blur, wobble, a slight tint, a ghost of the last frame."""
    soft = frames.astype(np.float32)
    soft[1:] = 0.8 * soft[1:] + 0.2 * soft[:-1]
    knots = rng.normal(0, warp_px, (len(frames) // 8 + 2, 4, 4, 2)).astype(np.float32)
    grid_y, grid_x = np.mgrid[0:64, 0:64].astype(np.float32)
    for t, picture in enumerate(soft):
        before, after = knots[t // 8], knots[t // 8 + 1]
        flow = cv2.resize(before + (after - before) * (t % 8) / 8, (64, 64), interpolation=cv2.INTER_CUBIC)
        blurred = cv2.GaussianBlur(picture, (0, 0), blur_px)
        places = (grid_x + flow[..., 0], grid_y + flow[..., 1])
        soft[t] = cv2.remap(blurred, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    soft = soft * rng.uniform(0.93, 1.05, 3) + rng.normal(0, 4, soft.shape)
    return np.clip(soft, 0, 255).round().astype(np.uint8)


def as_jpeg(frames: np.ndarray, quality: int) -> np.ndarray:
    coded = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for picture in frames]
    return np.stack([cv2.imdecode(picture, cv2.IMREAD_COLOR) for picture in coded])


# ---------------------------------------------------------------------------------------------------- what it must read
def test_it_reads_150_clips() -> None:
    accuracy = measure(150, 33, seed=101)["accuracy"]
    assert {name: result["rate"] for name, result in accuracy.items() if result["rate"] < 0.97} == {}


@pytest.mark.parametrize(("num_frames", "num_clips"), [(17, 60), (65, 25), (129, 15)])
def test_it_reads_every_length(num_frames: int, num_clips: int) -> None:
    accuracy = measure(num_clips, num_frames, seed=102)["accuracy"]
    assert {name: result["rate"] for name, result in accuracy.items() if result["rate"] < 0.93} == {}


@pytest.mark.parametrize("motion", world.MOTIONS)
def test_each_motion_is_told_from_all_others(motion: str) -> None:
    reading = read(world.render(scene_of(motion), 33))
    assert reading.motion == motion
    fits = reading.subjects[0].motion_fit
    assert fits[motion] > 0.9
    assert max(fit for other, fit in fits.items() if other != motion) < 0.6


@pytest.mark.parametrize("shape", world.SHAPES)
@pytest.mark.parametrize("colour", world.COLOURS)
def test_each_shape_in_each_colour_is_told(shape: str, colour: str) -> None:
    subject = read(world.render(scene_of("left", shape=shape, colour=colour), 17)).subjects[0]
    assert (subject.shape, subject.colour, subject.size) == (shape, colour, "medium")


def test_a_late_object_is_seen_as_late_and_missed_when_it_is_not_there() -> None:
    late = world.Subject("star", "blue", "small", 32.0, 14.0)
    first = world.Subject("circle", "red", "small", 32.0, 47.0)
    with_late = world.Scene((first,), "still", "meadow", late=late)
    without = world.Scene((first,), "still", "meadow")
    from_the_start = world.Scene((first, world.Subject("star", "blue", "small", 32.0, 14.0)), "still", "meadow")
    words = world.prompt(with_late)
    assert judge(world.render(with_late, 33), words).all_right
    assert judge(world.render(with_late, 33), world.prompt(without)).count is False
    missing = judge(world.render(without, 33), words)
    assert (missing.count, missing.late, missing.colour) == (False, False, False)
    early = judge(world.render(from_the_start, 33), words)
    assert (early.late, early.all_right) == (False, False)


def test_a_loop_is_asked_for_only_where_it_can_be_seen() -> None:
    asked = scene_of("circle", loop=True)
    assert judge(world.render(asked, 17), asked).loop is True
    assert judge(world.render(asked, 16), asked).loop is None
    assert judge(world.render(scene_of("circle"), 33), asked).loop is False
    assert judge(world.render(asked, 33), scene_of("circle")).loop is None


def test_the_size_of_the_picture_does_not_matter() -> None:
    frames = world.render(SCENES[0], 33)
    large = frames.repeat(3, axis=1).repeat(3, axis=2)
    assert judge(large, SCENES[0]).all_right


# ---------------------------------------------------------------------------------------------------- degraded clips
def test_it_falls_off_gracefully_on_degraded_clips() -> None:
    rng = np.random.default_rng(8)
    scores = []
    for warp_px, blur_px, least in ((0.0, 0.3, 0.97), (0.6, 0.8, 0.9), (1.2, 1.1, 0.8), (2.0, 1.4, 0.6)):
        clips = [as_generated(world.render(scene, 33), rng, warp_px, blur_px) for scene in SCENES]
        result = evaluate(clips, SCENES)
        scores.append(result["score"])
        assert result["rates"]["all_right"]["rate"] >= least, (warp_px, blur_px, result["rates"])
        assert result["rates"]["colour"]["rate"] >= 0.95
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("quality", "least"), [(85, 0.95), (40, 0.85)])
def test_compression_keeps_most_of_it(quality: int, least: float) -> None:
    result = evaluate([as_jpeg(world.render(scene, 33), quality) for scene in SCENES], SCENES)
    assert result["rates"]["all_right"]["rate"] >= least


def test_a_small_ghost_is_not_counted_but_a_second_subject_is() -> None:
    scene = scene_of("still")
    frames = world.render(scene, 33)
    ghost, double = frames.copy(), frames.copy()
    ghost[:, 4:8, 4:8] = world.COLOURS["red"]
    double[:, 2:16, 2:16] = world.COLOURS["red"]
    assert judge(ghost, scene).all_right
    assert judge(double, scene).count is False


# --------------------------------------------------------------------------------------------- what must not score well
@pytest.mark.parametrize("motion", [motion for motion in world.MOTIONS if motion != "still"])
def test_a_frozen_clip_has_no_motion_and_less_than_half_the_score(motion: str) -> None:
    scene = scene_of(motion)
    verdict = judge(world.render(scene, 33)[:1].repeat(33, axis=0), scene)
    assert (verdict.direction, verdict.all_right) == (False, False)
    assert verdict.score is not None
    assert verdict.score < 0.45


def test_a_clip_that_freezes_or_empties_halfway_is_wrong() -> None:
    scene = scene_of("right")
    frames = world.render(scene, 33)
    frozen = np.concatenate([frames[:16], frames[16:17].repeat(17, axis=0)])
    emptied = np.concatenate([frames[:16], world.render(world.Scene((), "still", "white"), 17)])
    assert judge(frozen, scene).direction is False
    assert not judge(emptied, scene).all_right
    assert judge(frozen, scene).score < judge(frames, scene).score - 0.2


@pytest.mark.parametrize("motion", ["bounce", "circle", "grow", "left"])
def test_frames_out_of_order_are_no_motion(motion: str) -> None:
    order = np.random.default_rng(2).permutation(33)
    assert judge(world.render(scene_of(motion), 33)[order], scene_of(motion)).direction is False


def test_a_change_of_shape_or_colour_halfway_is_wrong() -> None:
    frames = world.render(scene_of("still", shape="circle"), 33)
    reshaped = np.concatenate([frames[:16], world.render(scene_of("still", shape="star"), 17)])
    recoloured = np.concatenate([frames[:16], world.render(scene_of("still", colour="blue"), 17)])
    assert judge(reshaped, scene_of("still")).shape is False
    assert not judge(recoloured, scene_of("still")).all_right


def test_a_clip_played_backwards_moves_the_other_way() -> None:
    verdict = judge(world.render(scene_of("left"), 33)[::-1], scene_of("left"))
    assert (verdict.colour, verdict.shape, verdict.direction) == (True, True, False)
    assert read(world.render(scene_of("left"), 33)[::-1]).motion == "right"


def garbage() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (33, 5, 5, 3), dtype=np.uint8)
    return {
        "noise": rng.integers(0, 256, (33, 64, 64, 3), dtype=np.uint8),
        "colour blobs": np.stack([cv2.resize(picture, (64, 64), interpolation=cv2.INTER_CUBIC) for picture in coarse]),
        "grey": np.full((33, 64, 64, 3), 128, np.uint8),
        "black": np.zeros((33, 64, 64, 3), np.uint8),
        "all red": np.full((33, 64, 64, 3), world.COLOURS["red"], np.uint8),
        "one frame": rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8),
        "two frames": np.zeros((2, 64, 64, 3), np.uint8),
        "one pixel": np.zeros((17, 1, 1, 3), np.uint8),
    }


@pytest.mark.parametrize("kind", garbage())
def test_garbage_breaks_nothing_and_scores_nothing(kind: str) -> None:
    for scene in SCENES[:5]:
        verdict = judge(garbage()[kind], scene)
        assert not verdict.all_right
        assert verdict.score is not None
        assert 0 <= verdict.score < 0.35


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 9])
def test_very_short_clips_are_read_without_motion_or_loop(num_frames: int) -> None:
    reading = read(world.render(scene_of("left"), num_frames))
    assert (reading.count, reading.subjects[0].colour, reading.loop) == (1, "red", None)


# -------------------------------------------------------------------------------------------------------- the interface
def test_a_prompt_outside_the_grammar_is_not_judged() -> None:
    verdict = judge(world.render(SCENES[0], 17), "A cat plays the piano.")
    assert [getattr(verdict, name) for name in ATTRIBUTES] == [None] * len(ATTRIBUTES)
    assert (verdict.score, verdict.all_right) == (None, False)


def test_a_prompt_and_its_scene_give_the_same_verdict() -> None:
    for scene in SCENES[:10]:
        frames = world.render(scene, 17)
        assert judge(frames, world.prompt(scene)) == judge(frames, scene)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((17, 64, 64, 3), np.float32), np.zeros((17, 64, 64), np.uint8), np.zeros((0, 64, 64, 3), np.uint8)],
)
def test_what_is_not_a_clip_is_refused_with_what_it_was(frames: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"uint8\[T,H,W,3\].*but got"):
        judge(frames, SCENES[0])


def test_rates_count_only_what_was_asked() -> None:
    wanted = [scene_of("circle", loop=True), scene_of("left"), "A cat plays the piano."]
    clips = [world.render(scene, 33) for scene in (scene_of("circle", loop=True), scene_of("right"), scene_of("left"))]
    result = evaluate(clips, wanted)
    assert result["clips"] == 3
    assert (result["rates"]["loop"]["right"], result["rates"]["loop"]["of"]) == (1, 1)
    assert (result["rates"]["direction"]["right"], result["rates"]["direction"]["of"]) == (1, 2)
    assert (result["rates"]["all_right"]["right"], result["rates"]["all_right"]["of"]) == (1, 3)
    json.dumps(result)


def test_the_command_keeps_the_figures_of_each_length(tmp_path: Path) -> None:
    out = tmp_path / "mini" / "judge.json"
    for num_frames in (17, 25):
        main(["--clips", "3", "--frames", str(num_frames), "--seed", "4", "--out", str(out)])
    figures = json.loads(out.read_text())
    assert set(figures) == {"frames_17", "frames_25"}
    assert figures["frames_17"]["seed"] == 4
    assert figures["frames_17"]["accuracy"]["colour"]["of"] == 3
