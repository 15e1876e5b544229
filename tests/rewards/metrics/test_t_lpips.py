"""Temporal LPIPS: the package's own number, over visible pixels, gated."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rewards import Clip, RewardError, RewardUnavailable
from rewards.calibration import Calibration
from rewards.external.declaration import Anchors
from rewards.features import ClipFeatures
from rewards.matrix import perturbations
from rewards.metrics import t_lpips
from rewards.networks.cache import close_networks, loads
from rewards.networks.perceptual import LpipsAlex, open_perceptual, unit_distance
from rewards.time_series import over_time
from tests.rewards.conftest import real_clip, render_clip

ANCHORS = Calibration(
    name="test",
    anchors={"t_lpips.alex": Anchors(bad=0.15, good=0.02), "t_lpips.mini": Anchors(bad=0.03, good=0.0)},
)


def features_of(clip: Clip, frames: np.ndarray | None = None, backend: str = "mini") -> ClipFeatures:
    shown = clip if frames is None else Clip(frames=np.ascontiguousarray(frames), fps=clip.fps, prompt=clip.prompt)
    return ClipFeatures(shown, calibration=ANCHORS, backends={"lpips": backend})


def distance_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return open_perceptual("mini")(first, second)


def raw_of(clip: Clip, damage: str | None = None, backend: str = "mini") -> float:
    frames = perturbations.PERTURBATIONS[damage].apply(clip.frames, clip.frames[::-1]) if damage else None
    raw = over_time(t_lpips.visible_distance(features_of(clip, frames, backend)), worst="high")
    assert raw is not None
    return raw


@pytest.fixture(scope="module")
def drawn() -> Clip:
    return render_clip("circle", num_frames=17, background="meadow")


def test_the_distance_of_unit_features_is_the_formula() -> None:
    import torch

    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 5, 4, 4)).astype(np.float32)
    unit = [maps / np.linalg.norm(maps, axis=1, keepdims=True) for maps in (first, second)]
    expected = ((unit[0] - unit[1]) ** 2).sum(axis=1)
    found = unit_distance([torch.from_numpy(first)] * 2, [torch.from_numpy(second)] * 2, side_px=4)
    np.testing.assert_allclose(found, 2 * expected, rtol=1e-4)


def test_a_picture_is_like_itself_and_unlike_its_noisy_copy(drawn: Clip) -> None:
    compare = open_perceptual("mini")
    noisy = perturbations.noise(drawn.frames)
    same, other = compare(drawn.frames, drawn.frames), compare(drawn.frames, noisy)
    assert same.shape == drawn.frames.shape[:3] and np.abs(same).max() < 1e-5 < other.mean()


@pytest.mark.parametrize("damage", ["noise", "wobble", "flicker"])
def test_mini_tells_damage(drawn: Clip, damage: str) -> None:
    assert raw_of(drawn, damage) > 1.3 * raw_of(drawn)


def test_a_hidden_place_costs_nothing() -> None:
    """What the next frame hides is filled in before the comparison, and left out of the mean."""
    clip = render_clip("right", num_frames=9)
    features = features_of(clip)
    seen = features.visible.copy()
    seen[:, 50:100, 50:100] = False
    marked = features_of(clip)
    marked.put("visible", seen)
    marked.put("warped", np.where(seen[..., None], features.warped, 255 - features.warped))
    for name in ("flow", "frames"):
        marked.put(name, getattr(features, name))
    maps = t_lpips.distance_maps(marked)
    hidden = maps[:, 65:85, 65:85]  # the middle: what is around it reaches some px inward
    assert np.abs(hidden).max() < 0.01 * distance_of(features.frames[:-1], marked.warped)[:, 65:85, 65:85].min()
    assert np.isfinite(t_lpips.visible_distance(marked)).all()


def test_the_value_is_gated_and_its_series_fits(drawn: Clip) -> None:
    whole = t_lpips.score(features_of(drawn))
    assert whole.value is not None and whole.value > 0.3 and whole.backend == "mini"
    assert whole.per_frame is not None and len(whole.per_frame) == 17 and np.isnan(whole.per_frame[0])
    for damage in ("frozen", "blur", "pure_noise"):
        damaged = features_of(drawn, perturbations.PERTURBATIONS[damage].apply(drawn.frames, drawn.frames))
        result = t_lpips.score(damaged)
        assert (result.value or 0.0) < 0.6 * whole.value


def test_the_series_points_at_a_defect(drawn: Clip) -> None:
    frames = drawn.frames.copy()
    frames[9] = perturbations.noise(frames)[9]
    result = t_lpips.score(features_of(drawn, frames))
    assert result.per_frame is not None and int(np.nanargmin(result.per_frame)) in (9, 10)


def test_its_picture_has_the_frames_size(drawn: Clip) -> None:
    features = features_of(drawn)
    painted = t_lpips.overlays(features)["difference"]
    assert painted.shape == features.frames.shape and painted.dtype == np.uint8
    assert features.counts["lpips"] == 1


def test_short_and_grey_clips() -> None:
    clip = render_clip(num_frames=2)
    one = t_lpips.score(features_of(clip, clip.frames[:1]))
    assert one.value is None and "2 frames" in one.reason
    assert t_lpips.score(features_of(clip)).raw is not None
    grey = t_lpips.score(features_of(clip, perturbations.grey(clip.frames)))
    assert grey.value is not None and 0 <= grey.value <= 1


def test_without_weights_it_says_how_to_get_them(no_weights: None, drawn: Clip) -> None:
    with pytest.raises(RewardUnavailable, match="dailies weights get alexnet"):
        t_lpips.score(features_of(drawn, backend="alex"))
    with pytest.raises(RewardError, match="no perceptual distance 'vgg'; known are alex, mini"):
        t_lpips.score(features_of(drawn, backend="vgg"))


def test_another_networks_file_is_refused(no_weights: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    with pytest.raises(RewardError, match="AlexNet's weights contains another network"):
        open_perceptual("alex")(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.weights
def test_alex_is_the_packages_number(real_weights: Callable[..., None]) -> None:
    """Against the formula written out here: scaled input, unit features, the heads, the mean over all places."""
    real_weights("alexnet", "lpips_heads")
    import torch
    from torch.nn import functional as F

    from rewards.networks.cache import read_tensors
    from rewards.weights.catalog import resolve

    clip = real_clip("carphone_pristine.mp4", num_frames=9, size_px=128)
    first, second = clip.frames[:1], clip.frames[8:]
    trunk, heads = read_tensors(resolve("alexnet")), read_tensors(resolve("lpips_heads"))
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def maps(frames: np.ndarray) -> list[torch.Tensor]:
        x = (torch.from_numpy(frames / 127.5 - 1).float() - shift) / scale
        x, found = x.permute(0, 3, 1, 2), []
        for layer, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            x = F.max_pool2d(x, 3, 2) if layer in (3, 6) else x
            x = F.relu(F.conv2d(x, trunk[f"features.{layer}.weight"], trunk[f"features.{layer}.bias"], stride, padding))
            found.append(x / x.norm(dim=1, keepdim=True))
        return found

    pairs = zip(maps(first), maps(second), strict=True)
    layers = [F.conv2d((a - b) ** 2, heads[f"lin{n}.model.1.weight"]) for n, (a, b) in enumerate(pairs)]
    expected = float(sum(F.interpolate(x, size=(128, 128), mode="bilinear").mean() for x in layers))
    assert LpipsAlex()(first, second).mean() == pytest.approx(expected, rel=1e-3)
    assert 0.02 < expected < 0.4


@pytest.mark.weights
def test_alex_on_film(real_weights: Callable[..., None]) -> None:
    """The table of the notes on the first frames of carphone: blur hides differences, noise and wobble show."""
    real_weights("alexnet", "lpips_heads")
    close_networks()
    before = loads["lpips_alex"]
    clip = real_clip("carphone_pristine.mp4", num_frames=5)
    whole, jitter, noise, blur = (raw_of(clip, damage, "alex") for damage in (None, "jitter", "noise", "blur"))
    assert blur < 0.5 * whole and noise > 2 * whole and abs(jitter - whole) < 0.02
    assert loads["lpips_alex"] == before + 1
