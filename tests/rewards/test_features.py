"""Shared pieces: flow that is right, computed once; visibility, texture and motion that mean what they say."""

from pathlib import Path

import numpy as np
import pytest

from engine.mini import world
from rewards import Clip, Mix, RewardError, RewardUnavailable
from rewards.calibration import read_calibration
from rewards.features import ClipFeatures
from rewards.networks.cache import loads
from rewards.suite import RewardSuite
from rewards.vision.flow import DisFlow, flow_both_ways, open_flow, visibility, warp

from .conftest import render_clip

EVERY = Mix(
    key="every", title="", weights={"flow_smoothness": 1, "structure_constancy": 1, "loop_break": 1}, calibration="mini"
)


def textured(height: int = 192, width: int = 192, seed: int = 0) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(seed).normal(128, 90, (height + 64, width + 64, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 3 - 256, 0, 255).astype(np.uint8)


def test_flow_recovers_a_known_shift() -> None:
    canvas = textured()
    first, second = canvas[32:224, 32:224], canvas[34:226, 29:221]  # what was at (x, y) is now at (x + 3, y - 2)
    forward, backward = flow_both_ways(np.stack([first, second]), DisFlow())
    assert np.median(forward[0], axis=(0, 1)) == pytest.approx([3, -2], abs=0.2)
    assert np.median(backward[0], axis=(0, 1)) == pytest.approx([-3, 2], abs=0.2)


def test_flow_follows_a_shape_of_64_px() -> None:
    features = ClipFeatures(render_clip("right", background="white"))
    edge = features.texture[:-1] > 0.5
    speed_px = features.flow[0][edge & features.visible].mean(axis=0) / 3  # analysis size is three times 64
    assert speed_px == pytest.approx([world.SPEED_PX, 0], abs=0.2)


def test_warping_along_the_flow_brings_the_next_frame_back() -> None:
    features = ClipFeatures(render_clip("down"))
    plain = np.abs(features.frames[1:].astype(int) - features.frames[:-1]).mean()
    moved_back = np.abs(features.warped.astype(int) - features.frames[:-1]).mean()
    assert moved_back < 0.35 * plain


def test_pixels_that_leave_the_picture_are_not_visible() -> None:
    shift = np.zeros((1, 192, 192, 2), np.float32)
    shift[..., 0] = 10
    seen = visibility(shift, -shift)
    assert seen[0, :, :182].all() and not seen[0, :, 182:].any()


def test_flows_that_disagree_are_not_visible() -> None:
    forward = np.full((1, 192, 192, 2), 5, np.float32)
    assert not visibility(forward, np.zeros_like(forward)).any()


def test_warp_keeps_the_type_and_the_identity() -> None:
    frames = render_clip().frames[:3]
    assert np.array_equal(warp(frames, np.zeros((*frames.shape[:3], 2), np.float32)), frames)


def test_every_shared_piece_is_computed_once_a_clip() -> None:
    suite = RewardSuite(EVERY)
    features = suite.features(render_clip())
    suite.score_features(features)
    suite.score_features(features)
    assert features.counts["flow"] == 1
    assert set(features.counts.values()) == {1}


def test_a_flow_back_end_is_asked_once_each_way() -> None:
    calls = []

    class Counting:
        name = "counting"

        def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
            calls.append(len(first))
            return DisFlow()(first, second)

    report = RewardSuite(EVERY, flow=Counting()).score(render_clip())
    assert calls == [32, 32]
    assert report.results["flow_smoothness"].backend == "counting"


def test_speed_is_in_px_of_256_a_second_whatever_the_size() -> None:
    clip = render_clip("right", background="white")
    large = Clip(frames=clip.frames.repeat(4, axis=1).repeat(4, axis=2), fps=clip.fps)
    expected = world.SPEED_PX * 4 * world.FPS
    assert np.median(ClipFeatures(clip).speed) == pytest.approx(expected, rel=0.15)
    assert np.median(ClipFeatures(large).speed) == pytest.approx(expected, rel=0.15)


def test_showing_every_frame_twice_at_twice_the_rate_moves_as_fast() -> None:
    clip = render_clip("right", background="white")
    doubled = Clip(frames=clip.frames.repeat(2, axis=0), fps=2 * clip.fps)
    assert ClipFeatures(doubled).speed.mean() == pytest.approx(ClipFeatures(clip).speed.mean(), rel=0.05)


def test_flat_areas_have_no_texture() -> None:
    features = ClipFeatures(render_clip("right", background="white"))
    assert 0.01 < features.texture.mean() < 0.2
    assert ClipFeatures(Clip(frames=np.full((3, 64, 64, 3), 90, np.uint8), fps=8)).texture.max() == 0


def test_a_handed_in_piece_is_not_computed_again() -> None:
    features = ClipFeatures(render_clip())
    features.put("clip_frames", 7, seconds=0.5)
    assert features.once("clip_frames", lambda: 8) == 7
    assert features.has("clip_frames") and features.seconds["clip_frames"] == 0.5


def test_a_ribbon_is_refused_in_one_sentence() -> None:
    with pytest.raises(RewardError, match="too elongated"):
        ClipFeatures(Clip(frames=np.zeros((2, 16, 400, 3), np.uint8), fps=8))


def test_raft_stands_behind_the_same_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained weights: the flow means nothing, its shape, its loading and the messages do."""
    models = pytest.importorskip("torchvision.models.optical_flow")
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("DAILIES_REWARD_DEVICE", "cpu")
    for name in ("raft_small_C_T_V2-01064c6d.pth", "raft_large_C_T_SKHT_V2-ff5fadd5.pth"):
        torch.save(models.raft_small(weights=None).state_dict(), tmp_path / name)
    frames = textured(130, 133)[None].repeat(3, axis=0)
    loads["raft_small"] = 0
    flow = flow_both_ways(frames, open_flow("raft_small"))[0]
    assert flow.shape == (2, *frames.shape[1:3], 2) and flow.dtype == np.float32 and np.isfinite(flow).all()
    assert loads["raft_small"] == 1
    with pytest.raises(RewardError, match="not the weights of raft_large"):
        open_flow("raft_large")(frames[:-1], frames[1:])


def test_a_flow_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("DAILIES_WEIGHTS", raising=False)
    mix = Mix(key="raft", title="", weights={"flow_smoothness": 1}, backends={"flow": "raft_small"})
    with pytest.raises(RewardUnavailable, match="dailies weights get raft_small"):
        RewardSuite(mix).score(render_clip(num_frames=3))
    with pytest.raises(RewardError, match="no optical flow 'raft'"):
        RewardSuite(mix.model_copy(update={"backends": {"flow": "raft"}}))


def test_a_clip_recast_keeps_what_does_not_change() -> None:
    features = ClipFeatures(render_clip(num_frames=5), backends={"seam": "critic", "subject": "saliency"})
    flow, _ = features.flow, features.once("subjects", lambda: 1)
    kept = features.recast(backends={"subject": "saliency"})
    assert kept.has("subjects"), "the same back end computes the same piece"
    other = features.recast(backends={}, calibration=read_calibration("mini"))
    assert other.flow is flow and other.counts["flow"] == 0
    assert not other.has("subjects") and other.backend("seam", "z") == "z"
    assert other.calibration.name.startswith("mini")
