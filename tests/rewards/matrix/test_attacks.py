"""Attacks that must not raise the rewards: stills, repetitions, a close passer-by, a mirror."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engine.config.presets import load_preset
from rewards import Clip
from rewards.features import ClipFeatures
from rewards.gates import cut_gate, liveness_gate, loop_gate, measure_gates, motion_gate
from rewards.matrix.measure import fill_matrix, set_of_clips
from rewards.matrix.perturbations import PERTURBATIONS, frozen, shuffle
from rewards.matrix.reference_clips import read_reference
from rewards.matrix.rows import ATTACKS
from rewards.matrix.table import describe
from rewards.suite import RewardSuite
from rewards.vision.copies import copied_share
from rewards.vision.fades import mixture_share
from rewards.vision.flow import DisFlow
from rewards.vision.subject import find_subjects
from tests.rewards.conftest import real_clip, render_clip

TEST_CLIPS = ("test/backpack.mp4", "test/arm_wrestling.mp4", "test/paragliding.mp4")
STILLS = tuple(key for key, row in ATTACKS.items() if "gate.liveness" in row.falls)


@pytest.mark.slow
@pytest.mark.usefixtures("no_weights")
def test_no_attack_beats_the_honest_clip() -> None:
    clips = {name.removeprefix("test/"): real_clip(name, num_frames=32) for name in TEST_CLIPS}
    mixes = [load_preset("rewards", key) for key in ("motion", "online")]
    rows = (*STILLS, "oversharpened", "frozen_subject")
    totals = [cell for one in fill_matrix(set_of_clips(clips, 32), mixes, rows) for cell in one.totals]
    assert len(totals) == len(rows) * 2 and all(len(cell.changes) == 3 for cell in totals)
    assert [describe(cell) for cell in totals if not cell.holds and not cell.explained] == []


@pytest.mark.parametrize("name", TEST_CLIPS)
def test_a_still_picture_that_moves_is_told_from_a_scene(name: str) -> None:
    clip = real_clip(name, num_frames=32)
    assert liveness_gate(ClipFeatures(clip)) > 0.9
    gates = {
        attack: liveness_gate(ClipFeatures(PERTURBATIONS[attack].damage(clip, clip)))
        for attack in (*STILLS, "frozen_subject")
    }
    assert {attack: level for attack, level in gates.items() if level > 0.1} == {}


def test_clips_of_flat_shapes_are_judged_by_their_liveness_only_where_they_fade() -> None:
    clips = read_reference("mini")
    levels = {name: liveness_gate(ClipFeatures(clip)) for name, clip in clips.items()}
    assert {name: level for name, level in levels.items() if level < 1} == {}
    fades = {name: PERTURBATIONS["cross_fade"].damage(clip, clip) for name, clip in clips.items()}
    assert {name for name, fade in fades.items() if liveness_gate(ClipFeatures(fade)) > 0} == set()


def test_a_cross_fade_is_one_line_of_mixtures_at_any_speed() -> None:
    frames = render_clip(num_frames=33).frames
    slow_at_the_ends = (1 - np.cos(np.linspace(0, np.pi, 33)))[:, None, None, None] / 2
    faded = np.rint(frames[0] * (1 - slow_at_the_ends) + frames[-1] * slow_at_the_ends).astype(np.uint8)
    shares = [mixture_share(ClipFeatures(Clip(frames=shown, fps=8.0))) for shown in (faded, frames, frozen(frames))]
    assert shares[0] > 0.99 and shares[1] < 0.6 and shares[2] == 0
    assert mixture_share(ClipFeatures(Clip(frames=faded[:16], fps=8.0))) == 0


@pytest.mark.parametrize("prompt", ["static shot of a street", "a stationary train", "still life with flowers"])
def test_a_prompt_about_camera_or_thing_opens_no_gate_to_a_frozen_clip(prompt: str) -> None:
    clip = render_clip(num_frames=17)
    features = ClipFeatures(Clip(frames=frozen(clip.frames), fps=8, prompt=prompt))
    assert motion_gate(features) == 0


def resampled(frames: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Frames at fractional times, interpolated."""
    before = np.minimum(times.astype(int), len(frames) - 2)
    share = (times - before)[:, None, None, None]
    return np.rint(frames[before] * (1 - share) + frames[before + 1] * share).astype(np.uint8)


def way_back(speed: float) -> Callable[[np.ndarray], np.ndarray]:
    def changed(frames: np.ndarray) -> np.ndarray:
        half = len(frames) // 2
        times = half - 1 - speed * np.arange(1, int((half - 1) / speed) + 1)
        return np.concatenate([frames[:half], resampled(frames, times)[: len(frames) - half]])

    return changed


def again(speed: float) -> Callable[[np.ndarray], np.ndarray]:
    def changed(frames: np.ndarray) -> np.ndarray:
        half = len(frames) // 2
        times = np.arange(0, half - 1, speed)
        return np.concatenate([frames[:half], resampled(frames, times)[: len(frames) - half]])

    return changed


def late_start_again(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:-14], frames[:14]])


def late_way_back(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:-11], frames[-12:-23:-1]])


REPETITIONS = {
    "back at 0.6": way_back(0.6),
    "back at 0.8": way_back(0.8),
    "back at 1.7": way_back(1.7),
    "again at 0.6": again(0.6),
    "again at 1.4": again(1.4),
    "the beginning again at the end": late_start_again,
    "a way back at the end": late_way_back,
}


FILMS = pytest.mark.parametrize("name", ["test/backpack.mp4", "test/pillow.mp4"])


@FILMS
def test_a_film_is_no_repetition(name: str) -> None:
    assert loop_gate(ClipFeatures(real_clip(name, num_frames=48))) > 0.95


@FILMS
@pytest.mark.parametrize("how", REPETITIONS)
def test_a_repetition_is_found_at_any_speed_length_and_offset(name: str, how: str) -> None:
    clip = real_clip(name, num_frames=48)
    assert loop_gate(ClipFeatures(replace(clip, frames=REPETITIONS[how](clip.frames)))) < 0.3


@pytest.mark.parametrize("name", [*TEST_CLIPS, "test/pillow.mp4"])
def test_a_film_four_times_in_one_picture_is_a_repetition(name: str) -> None:
    clip = replace(real_clip(name, num_frames=17), prompt="a seamless loop of people")
    assert loop_gate(ClipFeatures(clip)) > 0.95
    assert loop_gate(ClipFeatures(PERTURBATIONS["tiled"].damage(clip, clip))) < 0.1


def test_a_wall_of_bricks_is_not_copied_where_something_moves_before_it() -> None:
    brick = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    frames = np.repeat(np.tile(brick, (4, 4, 1))[None], 9, axis=0)
    walker = np.random.default_rng(1).integers(0, 256, (64, 24, 3), dtype=np.uint8)
    panned = np.stack([np.roll(frame, 3 * t, axis=1) for t, frame in enumerate(frames)])
    for t, frame in enumerate(frames):
        frame[100:164, 10 + 12 * t : 34 + 12 * t] = walker
    shares = [copied_share(ClipFeatures(Clip(frames=shown, fps=8.0))) for shown in (frames, panned)]
    assert shares[0] < 0.5 and shares[1] > 0.9


def test_a_flat_shape_that_goes_in_circles_loses_at_most_half() -> None:
    circling = ClipFeatures(render_clip("circle", num_frames=65))
    again = ClipFeatures(replace(circling.clip, frames=circling.clip.frames[np.arange(65) % 16]))
    assert 0.5 <= loop_gate(circling) and loop_gate(again) == pytest.approx(0.5)


@pytest.mark.usefixtures("no_weights")
def test_neither_tiles_nor_slow_motion_back_and_forth_pay() -> None:
    clips = {name.removeprefix("test/"): real_clip(name, num_frames=33) for name in TEST_CLIPS[:2]}
    mixes = [load_preset("rewards", key) for key in ("motion", "mini_train")]
    totals = [
        cell for one in fill_matrix(set_of_clips(clips, 33), mixes, ("tiled", "slow_ping_pong")) for cell in one.totals
    ]
    assert len(totals) == 4 and all(len(cell.changes) == 2 for cell in totals)
    assert [describe(cell) for cell in totals if not cell.holds] == []


def test_a_passer_by_close_to_the_camera_is_no_cut() -> None:
    clip = real_clip("carphone_pristine.mp4", num_frames=32)
    van = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8).repeat(12, axis=0).repeat(12, axis=1)
    frames = clip.frames.copy()
    for step, t in enumerate(range(12, 20)):
        left = 192 - 60 * (step + 1)
        shown = slice(max(0, left), min(192, left + van.shape[1]))
        frames[t, :, shown] = van[:192, shown.start - left : shown.stop - left]
    passing = ClipFeatures(replace(clip, frames=frames))
    assert cut_gate(passing) > 0.9
    cut = np.concatenate([clip.frames[:16], real_clip("tree.avi", num_frames=16).frames])
    assert cut_gate(ClipFeatures(replace(clip, frames=cut))) < 0.1


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("name", TEST_CLIPS)
def test_shuffled_frames_do_not_beat_the_honest_clip(name: str) -> None:
    clip, suite = real_clip(name, num_frames=32), RewardSuite(load_preset("rewards", "motion"))
    honest, shuffled = (suite.score(one).total for one in (clip, replace(clip, frames=shuffle(clip.frames))))
    assert honest is not None and shuffled is not None and shuffled < honest


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("name", TEST_CLIPS)
def test_a_mirror_changes_no_reward_and_no_gate(name: str) -> None:
    clip, suite = real_clip(name, num_frames=32), RewardSuite(load_preset("rewards", "long"))
    seamed = replace(clip, seams=(16,))
    one, other = (suite.score(c) for c in (seamed, PERTURBATIONS["flip"].damage(seamed, seamed)))
    changes = {key: abs(one.gates[key] - other.gates[key]) for key in one.gates}
    parts = {key: (one.parts[key], other.parts[key]) for key in one.parts}
    changes |= {key: abs(a - b) for key, (a, b) in parts.items() if a is not None and b is not None}
    assert len(changes) > 8 and {key: change for key, change in changes.items() if change > 0.05} == {}


@pytest.mark.parametrize("name", ["carphone", "bunny"])
def test_the_subject_of_a_mirrored_clip_is_the_mirrored_subject(name: str) -> None:
    clip = read_reference("real")[name]
    clip = replace(clip, frames=np.ascontiguousarray(clip.frames[:6]))
    mirrored = replace(clip, frames=np.ascontiguousarray(clip.frames[:, :, ::-1]))
    one, other = (find_subjects(ClipFeatures(c)).boxes for c in (clip, mirrored))
    back = np.stack([1 - other[:, 2], other[:, 1], 1 - other[:, 0], other[:, 3]], axis=1)
    assert np.isfinite(one).any() and np.allclose(one, back, atol=0.02, equal_nan=True)


def test_the_camera_of_a_mirrored_clip_is_the_mirrored_camera() -> None:
    """Of one shape that turns by itself, so that pixels disagree on the motion."""
    clip = read_reference("mini")["mini_2"]
    clip = replace(clip, frames=np.ascontiguousarray(clip.frames[:33]))
    one, other = (ClipFeatures(c).camera[:, :2] for c in (clip, PERTURBATIONS["flip"].damage(clip, clip)))
    assert np.isfinite(one).all() and np.abs(one * (-1, 1) - other).max() < 1e-3


def test_flow_of_a_mirrored_pair_is_the_mirrored_flow() -> None:
    frames = real_clip("test/pillow.mp4", num_frames=6).frames
    pairs = list(pairwise(frames))
    first, second = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    flow, mirrored = DisFlow()(first, second), DisFlow()(first[:, :, ::-1].copy(), second[:, :, ::-1].copy())
    assert np.abs(mirrored[:, :, ::-1] * np.array([-1, 1], np.float32) - flow).max() < 1e-4


def test_every_gate_of_a_report_has_a_strength() -> None:
    strengths = load_preset("rewards", "motion").gates.model_dump()
    assert strengths.keys() == measure_gates(ClipFeatures(render_clip(num_frames=17))).to_dict().keys()
