"""Seam, aesthetic, framing and novelty: each falls for the damage that it is there for, and stays for other damage."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from rewards import Clip, RewardError, RewardResult, load_reward
from rewards.calibration import read_calibration
from rewards.features import ClipFeatures
from rewards.matrix import perturbations
from rewards.matrix.reference_clips import read_reference
from rewards.metrics.aesthetic import colourfulness, noise_levels
from rewards.metrics.framing import horizon_level
from rewards.metrics.novelty_after_k import distances_to_memory
from rewards.metrics.seam import jump_series
from rewards.networks.frame_embedding import HistogramEmbedder, open_embedder
from rewards.networks.seam_critic import PATH as CRITIC
from rewards.vision.subject import find_subjects
from tests.rewards.conftest import real_clip, render_clip
from tools.rewards.seams import MAKERS, blend

KEYS = ("seam", "aesthetic", "framing", "novelty_after_k")
DRIFTING = {"background": "meadow", "pan": -1.0, "size": "small", "x": 20.0, "y": 20.0}


@cache
def long_clip() -> Clip:
    return render_clip("down-right", num_frames=65, **DRIFTING)


@cache
def staying_clip() -> Clip:
    """Its subject goes round in circles and never leaves the picture."""
    return render_clip("circle", num_frames=65, background="meadow", pan=-1.0, x=32.0, y=32.0)


def score(key: str, frames: np.ndarray, **options: object) -> RewardResult:
    backends = options.pop("backends", {})
    clip = Clip(frames=np.ascontiguousarray(frames), fps=8, **options)
    features = ClipFeatures(clip, calibration=read_calibration("mini"), backends=backends)
    result: RewardResult = load_reward(key).score(features)
    return result


def value(key: str, frames: np.ndarray, **options: object) -> float:
    found = score(key, frames, **options).value
    assert found is not None
    return found


def test_a_clip_of_one_window_has_no_seam() -> None:
    result = score("seam", render_clip().frames)
    assert result.value is None and "one window" in result.reason


needs_critic = pytest.mark.skipif(
    not CRITIC.exists(), reason="the seam critic is not trained: python -m tools.rewards.train_seam_critic"
)


@pytest.mark.parametrize("backend", ["z", pytest.param("critic", marks=needs_critic)])
@pytest.mark.parametrize("maker", ["skip", "relight", "shift", "swap"])
def test_an_artificial_seam_costs_at_its_known_place(maker: str, backend: str) -> None:
    clip = long_clip()
    broken = blend(clip.frames, MAKERS[maker](clip.frames, 30, np.random.default_rng(0)), 30, 1)
    whole = value("seam", clip.frames, seams=(30,), backends={"seam": backend})
    damaged = value("seam", broken, seams=(30,), backends={"seam": backend})
    assert whole > 0.6 and damaged < whole - 0.25


def test_a_cut_elsewhere_does_not_touch_a_known_seam() -> None:
    clip, other = long_clip(), render_clip("left", num_frames=65, background="night")
    cut = perturbations.cut_to(clip.frames, other.frames, at=50)
    assert value("seam", cut, seams=(25,)) == pytest.approx(value("seam", clip.frames, seams=(25,)), abs=0.1)


def test_an_unknown_seam_is_looked_for_everywhere() -> None:
    clip, other = long_clip(), render_clip("left", num_frames=65, background="night")
    result = score("seam", perturbations.cut_to(clip.frames, other.frames, at=50))
    assert result.value is not None and result.value < 0.25
    assert result.details.keys() == {"seam_50"} and result.confidence == 0.5
    assert result.per_frame is not None and int(np.nanargmin(result.per_frame)) == 50


def test_a_clip_that_jumps_everywhere_hides_no_seam() -> None:
    frames = perturbations.shuffle(long_clip().frames)
    assert value("seam", frames, seams=(30,)) < 0.5 * value("seam", long_clip().frames, seams=(30,))


@pytest.mark.parametrize(("backend", "places"), [("z", 1.0), pytest.param("critic", 0.8, marks=needs_critic)])
@pytest.mark.parametrize("name", ["carphone", "bunny"])
def test_it_matters_little_where_a_seam_is_declared_in_an_uncut_shot(name: str, backend: str, places: float) -> None:
    """The rabbit starts at once in frame 32: for the critic that step looks like a seam, so `places` is less than 1."""
    clip = read_reference("real")[name]
    features = ClipFeatures(clip, calibration=read_calibration("real"), backends={"seam": backend})
    values = []
    for place in range(8, clip.num_frames - 8, 4):
        placed = ClipFeatures(
            replace(clip, seams=(place,)), calibration=features.calibration, backends={"seam": backend}
        )
        placed.put("jump_series", features.once("jump_series", lambda: jump_series(features)))
        values.append(load_reward("seam").score(placed).value)
    assert np.quantile(values, 1 - places) > 0.25 and np.median(values) > 0.6


@pytest.mark.parametrize(
    "damage", [perturbations.blur, perturbations.noise, perturbations.pure_noise, perturbations.grey]
)
def test_ugly_frames_are_rated_lower(damage: object) -> None:
    frames = long_clip().frames
    assert value("aesthetic", damage(frames)) < value("aesthetic", frames) - 0.1


@pytest.mark.parametrize(
    "damage",
    [perturbations.frozen, perturbations.jitter, perturbations.reverse, perturbations.flip, perturbations.repeat],
)
def test_single_frames_do_not_know_about_time(damage: object) -> None:
    frames = staying_clip().frames
    assert value("aesthetic", damage(frames)) == pytest.approx(value("aesthetic", frames), abs=0.1)


def test_one_burnt_frame_costs_more_than_its_share() -> None:
    frames = long_clip().frames.copy()
    before = score("aesthetic", frames).raw
    frames[16] = 255
    after = score("aesthetic", frames).raw
    assert before is not None and after is not None and after < before * (1 - 2 / 9)


def test_rising_saturation_costs() -> None:
    frames = render_clip("right", num_frames=65).frames.astype(float)
    gain = np.linspace(1, 4, len(frames))[:, None, None, None]
    mean = frames.mean(axis=-1, keepdims=True)
    pushed = np.clip(mean + (frames - mean) * gain, 0, 255).astype(np.uint8)
    assert score("aesthetic", pushed).details["saturation_drift"] > 15
    assert value("aesthetic", pushed) < value("aesthetic", frames.astype(np.uint8))


def test_noise_is_measured_in_grey_levels() -> None:
    flat = np.full((128, 128), 120.0)
    rng = np.random.default_rng(0)
    for sigma in (5, 15):
        noisy = np.clip(flat + rng.normal(0, sigma, flat.shape), 0, 255).astype(np.uint8)
        assert noise_levels(noisy) == pytest.approx(sigma, rel=0.25)


def test_colourfulness_is_zero_for_grey_and_grows_with_chroma() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    grey = colours.mean(axis=-1, keepdims=True).astype(np.uint8).repeat(3, axis=-1)
    assert colourfulness(grey) == 0
    assert colourfulness(colours) > 80


@pytest.mark.parametrize("background", ["white", "grey", "sunset", "meadow", "desert", "night"])
@pytest.mark.parametrize("colour", ["red", "orange", "green", "blue"])
def test_the_subject_is_found_where_it_is(background: str, colour: str) -> None:
    clip = render_clip("right", background=background, colour=colour, shape="circle", num_frames=17)
    subjects = find_subjects(ClipFeatures(clip))
    truth = np.stack([(20 + 1.5 * np.arange(17)) / 64, np.full(17, 34 / 64)], axis=1)
    assert subjects.found.all()
    assert np.abs(subjects.centres - truth).max() < 0.06
    assert subjects.areas.mean() == pytest.approx((26 / 64) ** 2, rel=0.35)


def test_a_subject_at_the_edge_is_framed_worse() -> None:
    placed = render_clip("still", x=22.0, y=22.0, background="sunset")
    edged = render_clip("still", x=3.0, y=32.0, background="sunset")
    assert value("framing", edged.frames) < value("framing", placed.frames) - 0.3


def test_the_middle_is_welcome_when_a_portrait_is_asked_for() -> None:
    frames = render_clip("still", x=32.0, y=32.0, background="sunset").frames
    assert value("framing", frames, prompt="a portrait of a star") > value("framing", frames, prompt="a star") + 0.05


def textured(side_px: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (side_px // 4, side_px // 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC))


def test_a_large_subject_that_tilts_is_no_camera_that_rolls() -> None:
    ground, subject = textured(192, 0), textured(192, 1)
    disc = np.zeros((192, 192), np.uint8)
    cv2.circle(disc, (96, 96), 76, 1, -1)
    turns = [cv2.getRotationMatrix2D((96, 96), float(angle), 1.0) for angle in np.linspace(-12, 12, 25)]
    turned = (cv2.warpAffine(subject, turn, (192, 192), borderMode=cv2.BORDER_REFLECT) for turn in turns)
    tripod = np.stack([np.where(disc[..., None], picture, ground) for picture in turned])
    assert horizon_level(ClipFeatures(Clip(frames=tripod, fps=24.0))) == pytest.approx(1, abs=0.1)
    rolling = Clip(frames=perturbations.rolling(tripod), fps=24.0)
    assert horizon_level(ClipFeatures(rolling)) == pytest.approx(0, abs=0.1)


def test_no_subject_is_no_score() -> None:
    result = score("framing", np.full((20, 64, 64, 3), 200, np.uint8))
    assert result.value is None and "No clear subject" in result.reason


def test_novelty_needs_time_and_rewards_going_on() -> None:
    assert "needs 41 frames" in score("novelty_after_k", render_clip(num_frames=40).frames).reason
    whole = value("novelty_after_k", long_clip().frames)
    for damage in (perturbations.frozen, perturbations.repeat, perturbations.ping_pong, perturbations.pure_noise):
        assert value("novelty_after_k", damage(long_clip().frames)) < whole - 0.2


def test_a_cut_buys_no_novelty() -> None:
    other = render_clip("left", num_frames=65, background="night", colour="cyan")
    cut = perturbations.cut_to(long_clip().frames, other.frames)
    assert value("novelty_after_k", cut) < 0.2


@pytest.mark.parametrize("name", ["tuning/bear.mp4", "tuning/teddy.mp4", "bigbuckbunny.mp4"])
def test_to_and_fro_buys_no_novelty(name: str) -> None:
    clip = real_clip(name, num_frames=64)
    there_and_back = replace(clip, frames=perturbations.ping_pong(clip.frames))
    module, calibration = load_reward("novelty_after_k"), read_calibration("real")
    values = [module.score(ClipFeatures(one, calibration=calibration)).value for one in (clip, there_and_back)]
    assert values[1] < 0.05 and values[1] <= values[0]


def test_distance_to_memory_by_hand() -> None:
    vectors = np.eye(40, dtype=np.float32)
    vectors[39] = vectors[0]
    assert distances_to_memory(vectors)[:7] == pytest.approx(1)
    assert distances_to_memory(vectors)[7] == pytest.approx(1 - 1 / 3)


def test_embeddings_are_unit_vectors_that_see_colour_and_place() -> None:
    red, blue = render_clip("still").frames[:1], render_clip("still", colour="blue").frames[:1]
    moved = render_clip("still", x=50.0).frames[:1]
    vectors = HistogramEmbedder()(np.concatenate([red, red, blue, moved]))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    similar = vectors @ vectors[0]
    assert similar[1] == pytest.approx(1) and similar[2] < 0.99 and similar[3] < 0.99


def test_unknown_back_ends_are_named() -> None:
    with pytest.raises(RewardError, match="no frame embedding 'clop'"):
        open_embedder("clop")
    with pytest.raises(RewardError, match="no aesthetic back end 'taste'"):
        score("aesthetic", render_clip().frames, backends={"aesthetic": "taste"})
