"""First-frame fidelity: what counts as the given picture, and clips that only seem to begin with it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rewards import Clip, Mix, RewardError, load_reward
from rewards.calibration import read_calibration
from rewards.external.clip_json import encode_clip
from rewards.features import ClipFeatures
from rewards.matrix.perturbations import PERTURBATIONS
from rewards.matrix.reference_clips import read_reference
from rewards.reward_functions import as_reward_funcs
from rewards.server.api import SentClip
from rewards.spec import RewardResult
from rewards.suite import RewardSuite
from tests.rewards.conftest import render_clip

CLIPS = {domain: read_reference(domain) for domain in ("real", "mini")}


def begun(domain: str, name: str) -> Clip:
    """A reference clip that begins with its picture, as far as an autoencoder keeps it."""
    clip = CLIPS[domain][name]
    blurred = cv2.GaussianBlur(clip.frames[0], (0, 0), 0.5)
    return replace(clip, first_picture=blurred)


def scored(clip: Clip, domain: str) -> RewardResult:
    result: RewardResult = load_reward("first_frame").score(ClipFeatures(clip, calibration=read_calibration(domain)))
    return result


def value(clip: Clip, domain: str) -> float:
    found = scored(clip, domain).value
    assert found is not None
    return found


def cast(clip: Clip) -> Clip:
    """The clip with a cast of colour of 15 levels."""
    return replace(clip, frames=np.clip(clip.frames.astype(int) + [15, 0, -15], 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("domain", "name"), [("real", "bunny"), ("real", "tree"), ("mini", "mini_2")])
def test_it_falls_with_what_the_first_frame_loses(domain: str, name: str) -> None:
    clip = begun(domain, name)
    intact, noisy = scored(clip, domain), scored(PERTURBATIONS["noise"].damage(clip, clip), domain)
    whole, gate = intact.value, intact.details["motion_gate"]
    assert whole == pytest.approx(gate) and gate > 0.7
    assert value(PERTURBATIONS["to_the_edge"].damage(clip, clip), domain) < whole - 0.5
    assert value(cast(clip), domain) < whole - 0.3
    assert noisy.raw < intact.raw - 0.05, "its value need not fall: noise adds motion to a slow clip"


def test_another_moment_is_not_the_picture() -> None:
    clip = begun("real", "bunny")
    late = replace(clip, frames=np.ascontiguousarray(clip.frames[::-1]))
    assert value(late, "real") < 0.2


def test_a_still_of_the_picture_earns_nothing() -> None:
    clip = begun("real", "carphone")
    still = replace(clip, frames=np.repeat(clip.frames[:1], clip.num_frames, axis=0))
    found = scored(still, "real")
    assert found.raw is not None and found.raw > 0.9 and found.value == 0 and found.details["motion_gate"] == 0


def test_the_picture_before_another_scene_earns_nothing() -> None:
    """One frame of the picture, then a cut: the reward's own gate, as a mix's gates are not part of its value."""
    clip, other = begun("real", "bunny"), CLIPS["real"]["carphone"]
    frames = np.concatenate([clip.frames[:1], other.frames[: clip.num_frames - 1]])
    found = scored(replace(clip, frames=frames), "real")
    assert found.raw is not None and found.raw > 0.9
    assert found.value is not None and found.value < 0.1 < 0.9 < found.details["cut"]


def test_clips_without_a_picture_have_no_value_and_the_other_rewards_share_the_weight() -> None:
    mix = Mix(key="m", title="", weights={"first_frame": 3.0, "loop_break": 1.0}, calibration="mini")
    clip = render_clip(num_frames=17)
    report = RewardSuite(mix).score(clip)
    result = report.results["first_frame"]
    assert result.value is None and "without a first picture" in result.reason
    assert report.weights == {"loop_break": 1.0} and report.total is not None
    with_picture = RewardSuite(mix).score(replace(clip, first_picture=clip.frames[0]))
    assert with_picture.weights == {"first_frame": 0.75, "loop_break": 0.25}
    one = replace(clip, frames=clip.frames[:1], first_picture=clip.frames[0])
    assert "1 frame" in RewardSuite(mix).score(one).results["first_frame"].reason


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(RewardError, match="first picture needs the size of the frames"):
        Clip(frames=np.zeros((3, 32, 32, 3), np.uint8), fps=8, first_picture=np.zeros((16, 16, 3), np.uint8))


def test_another_picture_is_another_clip_to_the_reward_functions() -> None:
    [function] = as_reward_funcs(Mix(key="m", title="", weights={"first_frame": 1.0}, calibration="mini"))
    clip = render_clip(num_frames=9)
    own, other = replace(clip, first_picture=clip.frames[0]), replace(clip, first_picture=255 - clip.frames[0])
    [high], [low], [none] = (function([""], [one]) for one in (own, other, clip))
    assert high is not None and low is not None and high > low + 0.5 and none is None


def test_the_overlay_shows_where_the_first_frame_differs() -> None:
    clip = render_clip(num_frames=5)
    other = clip.frames[0].copy()
    other[:20] = 255 - other[:20]
    features = ClipFeatures(replace(clip, first_picture=other), calibration=read_calibration("mini"))
    painted = load_reward("first_frame").overlays(features)["first_frame"]
    assert painted.shape == features.frames.shape
    assert painted[0, 10, :, 0].min() > 200 > painted[0, 150, :, 0].max()
    assert load_reward("first_frame").overlays(ClipFeatures(clip)) == {}


def test_a_reward_server_gets_the_picture() -> None:
    clip = replace(render_clip(num_frames=5), first_picture=render_clip().frames[7])
    sent = SentClip.model_validate(encode_clip(clip)).clip()
    assert np.array_equal(sent.frames, clip.frames) and sent.first_picture is not None
    assert np.array_equal(sent.first_picture, clip.first_picture)
    plain = encode_clip(replace(clip, first_picture=None))
    assert "first_picture" not in plain and SentClip.model_validate(plain).clip().first_picture is None
