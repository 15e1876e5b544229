"""FVD-lite: the Frechet distance in closed form, the distance of one clip, the ported networks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.mini import world
from rewards import Clip, RewardError, RewardUnavailable
from rewards.features import ClipFeatures
from rewards.matrix import perturbations
from rewards.metrics import fvd_lite
from rewards.networks.cache import close_networks, load_into, loads
from rewards.networks.i3d import I3D, Mixed, pad_same, pool
from rewards.vision.frechet import frechet_between, frechet_distance
from rewards.vision.reference_distance import read_reference_file
from tests.rewards.conftest import VIDEOS, render_clip
from tools.mini.reference_fit import fit_reference, fit_shape, ledoit_wolf, save_reference

RNG_SEED = 0


def gaussian(rng: np.random.Generator, count: int, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    return np.asarray(mean + rng.standard_normal((count, len(mean))) @ root)


# ---- sets of clips ----


def test_frechet_of_diagonal_gaussians_is_the_closed_form() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 where the covariances commute."""
    rng = np.random.default_rng(RNG_SEED)
    width, count = 8, 200_000
    deviations = rng.uniform(0.5, 2, (2, width))
    means = rng.normal(size=(2, width))
    first, second = (gaussian(rng, count, m, np.diag(s)) for m, s in zip(means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=0.01)


def test_frechet_is_the_matrix_formula_exactly() -> None:
    """Against the eigenvalues of S1 S2, for covariances that do not commute."""
    rng = np.random.default_rng(RNG_SEED)
    first, second = gaussian(rng, 50, np.zeros(5), rng.normal(size=(5, 5))), rng.normal(size=(70, 5))
    one, two = np.cov(first.T), np.cov(second.T)
    shared = np.sqrt(np.maximum(np.linalg.eigvals(one @ two).real, 0)).sum()
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    expected = apart + np.trace(one) + np.trace(two) - 2 * shared
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_fewer_samples_than_dimensions_are_no_special_case() -> None:
    """Against the same samples turned into a space of their own rank."""
    rng = np.random.default_rng(RNG_SEED)
    first, second = rng.normal(size=(6, 40)), rng.normal(size=(7, 40))
    turn, _ = np.linalg.qr(np.concatenate([first, second]).T)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(first @ turn, second @ turn), rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_the_interval_covers_the_distance_and_narrows() -> None:
    rng = np.random.default_rng(RNG_SEED)
    first, second = rng.normal(size=(400, 1, 4)), rng.normal(size=(400, 1, 4)) + 1
    wide, narrow = frechet_between(list(first[:40]), list(second[:40])), frechet_between(list(first), list(second))
    assert wide.low < wide.distance < wide.high and narrow.low < 4 < narrow.high
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)
    assert (narrow.num_first, narrow.num_second) == (400, 400)


def test_one_clip_has_no_frechet_distance() -> None:
    with pytest.raises(RewardError, match="2 clips on each side, got 1 and 2"):
        frechet_between([np.zeros((4, 3))], [np.zeros((4, 3))] * 2)
    with pytest.raises(RewardError, match=r"got \(1, 3\)"):
        frechet_distance(np.zeros((1, 3)), np.zeros((2, 3)))


@pytest.fixture(scope="module")
def sets() -> tuple[list[Clip], list[Clip]]:
    rng = np.random.default_rng(RNG_SEED)
    frames = (world.render(world.sample_scene(rng), 16) for _ in range(48))
    clips = [Clip(frames=f, fps=world.FPS) for f in frames]
    return clips[:24], clips[24:]


def test_sets_of_damaged_clips_are_farther(sets: tuple[list[Clip], list[Clip]]) -> None:
    """The population form of the oracle: distance rises with the strength of the damage."""
    whole, other = sets

    def damaged(strength: float) -> list[Clip]:
        return [dataclasses.replace(clip, frames=perturbations.noise(clip.frames, strength)) for clip in other]

    none, little, much = (
        fvd_lite.frechet_of_sets(whole, clips, backend="mini", resamples=50).distance
        for clips in (other, damaged(0.5), damaged(2.0))
    )
    assert none < little < much


# ---- one clip ----


def test_shrinkage_is_full_for_a_sphere_and_none_for_plenty() -> None:
    rng = np.random.default_rng(RNG_SEED)
    few, many = rng.normal(size=(20, 50)), rng.normal(size=(20_000, 4)) * (3, 2, 1, 0.5)
    assert ledoit_wolf(few - few.mean(axis=0)) > 0.7
    assert ledoit_wolf(many - many.mean(axis=0)) < 0.01


def test_shrinkage_does_not_depend_on_which_product_is_taken() -> None:
    """The formula by rows, written out, on a wide and on a tall matrix."""
    rng = np.random.default_rng(RNG_SEED)
    for shape in ((10, 30), (30, 10)):
        away = rng.normal(size=shape) * np.linspace(0.5, 2, shape[1])
        away -= away.mean(axis=0)
        covariance = away.T @ away / shape[0]
        sphere = np.trace(covariance) / shape[1]
        spread = ((covariance - sphere * np.eye(shape[1])) ** 2).sum()
        noise = sum(((np.outer(row, row) - covariance) ** 2).sum() for row in away) / shape[0] ** 2
        assert ledoit_wolf(away) == pytest.approx(min(noise, spread) / spread, rel=1e-9)


def test_the_distance_is_mahalanobis_when_all_directions_are_kept() -> None:
    rng = np.random.default_rng(RNG_SEED)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    features = gaussian(rng, 20_000, np.ones(4), np.diag((0.5, 1, 1.5, 2)) @ turn)
    shape = fit_shape(features, rank=3)
    probe = rng.normal(size=(10, 4)) * 3
    away = probe - features.mean(axis=0)
    expected = np.einsum("nd,de,ne->n", away, np.linalg.inv(np.cov(features.T)), away) / 4
    np.testing.assert_allclose(sum(shape.distances(probe)), expected, rtol=0.02)


def test_what_leaves_the_subspace_counts() -> None:
    """The in-subspace distance alone cannot see it: that is why there is a residual."""
    rng = np.random.default_rng(RNG_SEED)
    features = np.zeros((40, 20))
    features[:, :3] = rng.normal(size=(40, 3))
    features += 0.01 * rng.normal(size=features.shape)
    shape = fit_shape(features, rank=3)
    probe = np.zeros((1, 20))
    probe[0, 10] = 1.0
    inside, outside = shape.distances(probe)
    assert outside[0] > 5 * inside[0]


def test_a_reference_knows_its_own_members(tmp_path: Path) -> None:
    rng = np.random.default_rng(RNG_SEED)
    clips = [rng.normal(size=(2, 6)) for _ in range(200)]
    reference = fit_reference(clips, list(range(200)), rank=4, notes={"of": "noise"})
    typical = float(np.median(reference.left_out))
    assert reference.percentile(typical) == pytest.approx(0.5, abs=0.02) and reference.confidence > 0.9
    values = [reference.likeness(d) for d in (0.1, typical, 1.5 * typical, 4 * typical, 40 * typical)]
    assert values == sorted(values, reverse=True) and values[1] > 0.9 and 0 < values[-1] < 0.01
    save_reference(reference, tmp_path / "reference.npz")
    again = read_reference_file(tmp_path / "reference.npz")
    probe = rng.normal(size=(5, 6))
    np.testing.assert_allclose(again.distance(probe), reference.distance(probe), rtol=1e-2)
    assert again.notes == {"of": "noise"}


def test_a_few_films_give_little_confidence() -> None:
    rng = np.random.default_rng(RNG_SEED)
    films = rng.normal(size=(3, 50)) * 5
    clips = [films[n % 3] + rng.normal(size=(4, 50)) for n in range(15)]
    assert fit_reference(clips, [n % 3 for n in range(15)], rank=8, notes={}).confidence < 0.5
    with pytest.raises(RewardError, match="at least 2 groups"):
        fit_reference(clips, [0] * 15, rank=8, notes={})


def test_a_torn_reference_is_one_sentence(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("garbage", b"garbage"), ("zip", b"PK\x03\x04 torn")):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(RewardError, match=rf"^The reference file {name}.npz is damaged.*\.$"):
            read_reference_file(path)


def mini_features(clip: Clip) -> ClipFeatures:
    return ClipFeatures(clip, backends={"video": "mini"})


@pytest.mark.parametrize("damage", ["noise", "pure_noise", "shuffle", "flicker"])
def test_drawn_clips_are_typical_and_damaged_ones_less_so(damage: str) -> None:
    clips = [
        render_clip(motion, num_frames=33, background=b) for motion, b in (("right", "white"), ("circle", "desert"))
    ]
    whole = [fvd_lite.score(mini_features(clip)) for clip in clips]
    change = perturbations.PERTURBATIONS[damage]
    hurt = [
        fvd_lite.score(mini_features(dataclasses.replace(clip, frames=change.apply(clip.frames, clip.frames))))
        for clip in clips
    ]
    assert all(result.value is not None and result.value > 0.5 for result in whole)
    assert sum(r.raw or 0 for r in hurt) > 1.1 * sum(r.raw or 0 for r in whole)


def test_a_result_says_where_it_stands() -> None:
    result = fvd_lite.score(mini_features(render_clip(num_frames=33)))
    assert result.backend == "mini" and 0.5 < result.confidence <= 1
    assert 0 <= result.details["percentile"] <= 100 and result.details["stretches"] == 2
    assert result.per_frame is not None and np.isfinite(result.per_frame[[0, 32]]).all()


def test_a_group_goes_through_the_network_together() -> None:
    group = [mini_features(render_clip(num_frames=n)) for n in (17, 65, 9)]
    fvd_lite.prepare(group)
    assert [features.counts["video"] for features in group] == [1, 1, 0]
    alone = mini_features(group[1].clip)
    np.testing.assert_allclose(fvd_lite.video_features(group[1]), fvd_lite.video_features(alone), atol=1e-4)
    short = fvd_lite.score(group[2])
    assert short.value is None and "16 frames" in short.reason


@pytest.mark.parametrize(
    ("count", "expected"), [(16, [0]), (33, [0, 17]), (64, [0, 16, 32, 48]), (129, [0, 38, 75, 113])]
)
def test_stretches_reach_from_the_first_frame_to_the_last(count: int, expected: list[int]) -> None:
    assert fvd_lite.starts(count) == expected


def test_other_weights_than_the_references_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fvd_lite.open_reference("mini")
    notes = {**own.notes, "fingerprint": [1.0, 2.0, 3.0]}
    save_reference(dataclasses.replace(own, notes=notes), tmp_path / "fvd_reference_mini.npz")
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    with pytest.raises(RewardError, match="made with other weights.*fvd_reference --backend mini"):
        fvd_lite.open_reference("mini")


def test_without_weights_it_says_how_to_get_them(no_weights: None) -> None:
    clip = render_clip(num_frames=17)
    with pytest.raises(RewardUnavailable, match="dailies weights get i3d"):
        fvd_lite.score(ClipFeatures(clip))
    with pytest.raises(RewardError, match="no video network 'c3d'"):
        fvd_lite.video_features(ClipFeatures(clip, backends={"video": "c3d"}))


# ---- I3D ----


def test_same_padding_is_tensorflows() -> None:
    """Output size is the input's over the stride, rounded up; the odd zero goes to the end."""
    x = torch.ones(1, 1, 4, 5, 8)
    padded = pad_same(x, (3, 3, 7), (2, 1, 2))
    assert padded.shape[2:] == (5, 7, 13)
    assert padded[0, 0, 0, 3, 5] == 1 and padded[0, 0, -1].sum() == 0  # time: nothing before, one after
    assert padded[0, 0, 0, 0].sum() == 0 and padded[0, 0, 0, -1].sum() == 0  # height: one on each side
    assert padded[0, 0, 0, 1].tolist() == [0.0] * 2 + [1.0] * 8 + [0.0] * 3


def test_the_ports_shapes_are_i3ds() -> None:
    network = I3D()
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
    assert Mixed(192, 64, 96, 128, 16, 32, 32)(torch.zeros(1, 192, 2, 4, 4)).shape == (1, 256, 2, 4, 4)


def test_another_networks_weights_are_refused() -> None:
    state = {**I3D().state_dict()}
    state.pop("logits.conv3d.bias")
    with pytest.raises(RewardError, match=r"not the weights of I3D.*logits\.conv3d\.bias"):
        load_into(I3D(), state, "I3D (Kinetics-400)")


@pytest.mark.weights
def test_i3d_measures_what_the_original_does(real_weights: Callable[..., None]) -> None:
    """Norm of the features and best action of carphone's first frames, as the weights' manifest says."""
    real_weights("i3d")
    from rewards.networks.i3d import i3d_features, i3d_logits, open_i3d

    path = VIDEOS / "carphone_pristine.mp4"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in ../shared/videos")
    close_networks()
    before, reader = loads["i3d"], cv2.VideoCapture(str(path))
    frames = np.stack([cv2.cvtColor(reader.read()[1], cv2.COLOR_BGR2RGB) for _ in range(16)])
    features = i3d_features(frames[None])
    assert np.linalg.norm(features) == pytest.approx(6.549, abs=0.01)
    with torch.inference_mode():
        logits = open_i3d().logits["conv3d"](torch.from_numpy(features)[:, :, None, None, None]).flatten()
    best = torch.softmax(logits, dim=0).max(dim=0)
    assert float(best.values) == pytest.approx(0.154, abs=0.002)
    labels = Path(path.parents[1] / "weights" / "kinetics400_labels.txt")
    if labels.is_file():
        assert labels.read_text(encoding="utf8").splitlines()[int(best.indices)] == "finger snapping"
    assert loads["i3d"] == before + 1
    np.testing.assert_allclose(i3d_logits(frames[None])[0], logits.numpy(), rtol=1e-4, atol=1e-4)
    reference = fvd_lite.open_reference("i3d")
    assert reference.distance(features)[0] < np.median(reference.left_out)  # it is one of the four films


def test_published_frechet_distances_are_of_the_logits_over_time() -> None:
    """The reference pools 2x7x7, then averages the logits over time, which is equal for 16 frames."""
    torch.manual_seed(0)
    network = I3D().eval()
    clip = torch.rand(1, 3, 16, 224, 224) * 2 - 1
    with torch.inference_mode():
        block = pool(network.Conv3d_1a_7x7(clip), (1, 3, 3), (1, 2, 2))
        block = pool(network.Conv3d_2c_3x3(network.Conv3d_2b_1x1(block)), (1, 3, 3), (1, 2, 2))
        for stage, letters, kernel in (("Mixed_3", "bc", (3, 3, 3)), ("Mixed_4", "bcdef", (2, 2, 2))):
            block = pool(network._through(stage, letters, block), kernel, (2, 2, 2))
        pooled = torch.nn.functional.avg_pool3d(network._through("Mixed_5", "bc", block), (2, 7, 7), stride=1)
        logits = network.logits["conv3d"](pooled)[..., 0, 0].mean(dim=2)
        found = network(clip)
    assert found.shape == (1, 400)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.weights
def test_the_two_frechet_distances_cannot_be_taken_for_each_other(real_weights: Callable[..., None]) -> None:
    real_weights("i3d")
    rng = np.random.default_rng(0)
    sets = [[Clip(frames=rng.integers(0, 256, (16, 48, 48, 3), np.uint8), fps=8) for _ in range(2)] for _ in range(2)]
    published, pooled = (fvd_lite.frechet_of_sets(*sets, backend=name, resamples=2) for name in ("i3d-logits", "i3d"))
    assert (published.backend, pooled.backend) == ("i3d-logits", "i3d") and published.distance != pooled.distance
