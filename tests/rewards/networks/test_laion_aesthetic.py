"""LAION's aesthetic head: its published arithmetic, both file layouts, one pass through CLIP shared with clip_vid."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rewards import Clip, Mix, RewardError, load_reward
from rewards.calibration import Calibration
from rewards.features import ClipFeatures
from rewards.networks.laion_aesthetic import apply_head, rate, read_head
from rewards.networks.open_clip_model import OpenClip
from rewards.suite import RewardSuite
from tests.rewards.conftest import render_clip
from tests.rewards.tiny_clip import CONFIG, write_tiny_clip

CLIP = render_clip("right", num_frames=33)
EIGHTHS = np.arange(0, 33, 8)
WIDTH = CONFIG["embed_dim"]
BARE = Calibration(name="bare", anchors={})


def write_linear(path: Path, offset: float = 5.0) -> torch.nn.Linear:
    torch.manual_seed(0)
    layer = torch.nn.Linear(WIDTH, 1)
    torch.nn.init.constant_(layer.bias, offset)
    torch.save(layer.state_dict(), path)
    return layer


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights in which ViT-L/14 is a tiny random model (as a folder) and the head fits it."""
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    write_tiny_clip(tmp_path / "open_clip_vit_l_14.safetensors")
    write_linear(tmp_path / "sa_0_4_vit_l_14_linear.pth")
    return tmp_path


def features_of(clip: Clip) -> ClipFeatures:
    return ClipFeatures(clip, calibration=BARE, backends={"aesthetic": "laion", "clip": "ViT-L-14"})


def test_ratings_are_the_linear_layer_on_unit_vectors(tiny: Path) -> None:
    layer = write_linear(tiny / "sa_0_4_vit_l_14_linear.pth")
    vectors = OpenClip(tiny / "open_clip_vit_l_14.safetensors").encode_frames(list(CLIP.frames[EIGHTHS]))
    with torch.no_grad():
        expected = layer(torch.from_numpy(vectors))[:, 0].numpy()
    np.testing.assert_allclose(rate(features_of(CLIP), EIGHTHS), expected, atol=1e-5)


def test_every_eighth_frame_mean_and_worst(tiny: Path) -> None:
    ratings = rate(features_of(CLIP), EIGHTHS)
    result = load_reward("aesthetic").score(features_of(CLIP))
    drift = result.details["saturation_drift"]
    assert drift < 15  # no penalty
    assert result.raw == pytest.approx(0.7 * ratings.mean() + 0.3 * ratings.min())
    assert result.value == pytest.approx(np.clip((result.raw - 3) / 4, 0, 1)) and result.backend == "laion"
    assert np.flatnonzero(np.isfinite(result.per_frame)).tolist() == EIGHTHS.tolist()


def test_clip_vid_with_the_same_network_shares_its_pass(tiny: Path) -> None:
    group = [features_of(CLIP), features_of(render_clip("left", num_frames=17))]
    for key in ("clip_vid", "aesthetic"):
        load_reward(key).prepare(group)
    for features in group:
        assert load_reward("clip_vid").score(features).confidence == 0.5  # anchors are the literature's
        assert load_reward("aesthetic").score(features).value is not None
        assert features.counts["clip_frames.ViT-L-14"] == 1


def test_several_layers_in_a_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(6, 5),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(5, 4),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(4, 1),
    ).eval()
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, tmp_path / "mlp.pth")
    vectors = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    with torch.no_grad():
        expected = layers(torch.from_numpy(vectors))[:, 0].numpy()
    np.testing.assert_allclose(apply_head(read_head(tmp_path / "mlp.pth"), vectors), expected, atol=1e-6)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    write_linear(tmp_path / "head.pth")
    with pytest.raises(RewardError, match="takes vectors of 24 numbers"):
        apply_head(read_head(tmp_path / "head.pth"), np.ones((1, 5), np.float32))
    one, two = {"weight": torch.ones(1, 4)}, {"weight": torch.ones(2, 4), "bias": torch.ones(2)}
    apart = {f"0.{key}": value for key, value in two.items()} | {"1.weight": torch.ones(1, 3), "1.bias": torch.ones(1)}
    for name, tensors, says in (
        ("a.pth", one, "'bias' is missing"),
        ("b.pth", two, "2 outputs instead of one"),
        ("c.pth", apart, "do not fit"),
    ):
        torch.save(tensors, tmp_path / name)
        with pytest.raises(RewardError, match=says):
            read_head(tmp_path / name)


def test_without_the_head_the_reward_drops_out_and_technical_does_not_step_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    mix = Mix(key="x", title="x", weights={"aesthetic": 1.0, "loop_break": 1.0}, backends={"aesthetic": "laion"})
    report = RewardSuite(mix).score(CLIP)
    assert report.parts["aesthetic"] is None and "laion_aesthetic" in report.results["aesthetic"].reason
    assert report.weights == {"loop_break": 1.0}
