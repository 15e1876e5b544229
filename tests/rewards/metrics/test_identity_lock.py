"""Identity lock: the right face is followed, other people show, and without a face the subject takes its place."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.mini import world
from rewards import Clip, Mix, RewardError, RewardUnavailable
from rewards.calibration import Calibration
from rewards.external.declaration import Anchors
from rewards.features import ClipFeatures
from rewards.matrix.reference_clips import read_others, read_reference
from rewards.metrics import identity_lock
from rewards.metrics.identity_lock import cut_out, follow, main_faces, to_identity
from rewards.networks.cache import close_networks, loads
from rewards.networks.faces import TEMPLATE_PX, Face, FaceNetwork, aligned, overlap
from rewards.suite import RewardSuite
from tests.rewards.conftest import render_clip

ANCHORS = Calibration(
    name="test",
    anchors={
        f"identity_lock.{name}": Anchors(bad=0.3, good=good)
        for name, good in {"facenet": 0.75, "yunet": 0.75, "mini": 0.9, "histogram": 0.9}.items()
    },
)


def features_of(clip: Clip, backend: str) -> ClipFeatures:
    return ClipFeatures(clip, calibration=ANCHORS, backends={"identity": backend})


def with_frames(clip: Clip, frames: np.ndarray) -> Clip:
    return dataclasses.replace(clip, frames=np.ascontiguousarray(frames))


def other_half(clip: Clip, other: Clip) -> Clip:
    """`clip`, from its middle on `other`."""
    middle = clip.num_frames // 2
    return with_frames(clip, np.concatenate([clip.frames[:middle], other.frames[middle : clip.num_frames]]))


@pytest.fixture(scope="module")
def film() -> Clip:
    """A man in a car, 16 frames."""
    clip = read_reference("real")["carphone"]
    return with_frames(clip, clip.frames[:16])


@pytest.fixture(scope="module")
def portrait() -> Clip:
    clip = read_others("real")["carphone"]
    return with_frames(clip, clip.frames[:16])


# ---- the parts ----


def test_the_identity_is_the_medoid_of_the_first_frames() -> None:
    """One odd frame among the first does not become what all others are measured against."""
    same, odd = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    vectors = np.stack([odd, *[same] * 9]).astype(np.float32)
    np.testing.assert_allclose(to_identity(vectors), [0.0, *[1.0] * 9])


def test_overlap_is_intersection_over_union() -> None:
    box = np.array([0.0, 0.0, 2.0, 2.0])
    assert overlap(box, box) == 1
    assert overlap(box, np.array([1.0, 0.0, 3.0, 2.0])) == pytest.approx(1 / 3)
    assert overlap(box, np.array([5.0, 5.0, 6.0, 6.0])) == 0


def test_alignment_puts_the_points_on_the_template() -> None:
    """A face drawn as five dots, turned and moved, comes out as the template."""
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32)
    points = TEMPLATE_PX @ turn.T * 1.2 + (90, 20)
    frame = np.zeros((240, 240, 3), np.uint8)
    for x, y in points:
        cv2.circle(frame, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
    found = aligned(frame, points.astype(np.float32))
    assert found.shape == (112, 112, 3)
    assert all(found[round(float(y)), round(float(x))].min() > 200 for x, y in TEMPLATE_PX)


@pytest.mark.parametrize("side", [20, 64, 300])
def test_a_cut_out_is_square_and_centred(side: int) -> None:
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[200 - side // 4 : 200 + side // 4, 200 - side // 4 : 200 + side // 4] = 255
    half = side / 2
    found = cut_out(frame, np.array([200 - half, 200 - half, 200 + half, 200 + half]))
    assert found.shape == (48, 48, 3)
    share = found.mean() / 255
    assert share == pytest.approx(0.25 / identity_lock.MARGIN**2, rel=0.1)


@dataclasses.dataclass(frozen=True)
class ByColour:
    """Embeds a "face" as the colour in its box: a real network of the interface, with an answer known by heart."""

    name: str = "colour"

    def find(self, frames: np.ndarray) -> list[list[Face]]:
        raise NotImplementedError

    def embed(self, faces: list[tuple[np.ndarray, Face]]) -> np.ndarray:
        colours = [frame[int(face.box[1]) + 2, int(face.box[0]) + 2].astype(np.float32) for frame, face in faces]
        return np.stack([colour / np.linalg.norm(colour) for colour in colours])


def square_face(frame: np.ndarray, x: int, side: int, colour: tuple[int, int, int]) -> Face:
    frame[10 : 10 + side, x : x + side] = colour
    box = np.array([x, 10, x + side, 10 + side], np.float64)
    return Face(box=box, points=np.zeros((5, 2), np.float32), probability=0.99)


def test_the_main_face_is_followed_through_a_jump() -> None:
    """The largest face at first; where it jumps, the one that looks like it, not the one that is largest now."""
    frames, seen = np.zeros((3, 100, 200, 3), np.uint8), []
    for n, (red_x, blue_side) in enumerate(((10, 20), (14, 20), (120, 40))):
        red = square_face(frames[n], red_x, 30, (255, 0, 0))
        blue = square_face(frames[n], 60, blue_side, (0, 0, 255))
        seen.append([blue, red])
    network: FaceNetwork = ByColour()
    chosen = main_faces(seen, frames, network)
    assert [face.box[0] for face in chosen.values()] == [10, 14, 120]
    assert main_faces([[], []], frames[:2], network) == {}


# ---- subjects ----


def test_another_subject_in_the_second_half_falls() -> None:
    clip = render_clip("circle", background="grey", shape="star", colour="red")
    other = render_clip("circle", background="grey", shape="square", colour="blue")
    same, changed = (identity_lock.score(features_of(c, "mini")) for c in (clip, other_half(clip, other)))
    assert same.value is not None and changed.value is not None
    assert same.backend == changed.backend == "mini" and same.value > 0.7 and changed.value < 0.5 * same.value
    assert changed.per_frame is not None
    middle = clip.num_frames // 2
    assert np.nanmean(changed.per_frame[:middle]) > np.nanmean(changed.per_frame[middle:]) + 0.2


def test_the_embedded_vectors_know_shape_and_colour() -> None:
    """Cosines between two frames of one subject against those of different ones."""
    from rewards.networks.mini_subject import subject_vectors

    def vectors(shape: str, colour: str) -> np.ndarray:
        subject = world.Subject(shape, colour, "medium", 24.0, 34.0)
        scene = world.Scene((subject,), "right", "meadow")
        frames, path = world.render(scene, 16), world.track(scene, subject, 16)
        boxes = [np.array([x - r, y - r, x + r, y + r]) for x, y, r in path[[0, 10]]]
        return subject_vectors(np.stack([cut_out(frames[t], box) for t, box in zip((0, 10), boxes, strict=True)]))

    star, square, blue = vectors("star", "red"), vectors("square", "red"), vectors("star", "blue")
    same = float(star[0] @ star[1])
    assert same > 0.8 and same > float(star[0] @ square[1]) + 0.1 and same > float(star[0] @ blue[1]) + 0.3


def test_without_a_face_the_subject_is_followed() -> None:
    clip = render_clip("circle", num_frames=9, background="grey")
    features = features_of(clip, "facenet")
    result = identity_lock.score(features)
    assert result.backend == "histogram" and result.details["face"] == 0
    assert result.value is not None and features.counts["faces"] == 1
    painted = identity_lock.overlays(features)["faces"]
    assert painted.shape == features.frames.shape and (painted != features.frames).any()


def test_nothing_to_follow_is_not_applicable() -> None:
    clip = render_clip(num_frames=9)
    empty = with_frames(clip, np.full_like(clip.frames, 128))
    for backend in ("mini", "facenet"):
        result = identity_lock.score(features_of(empty, backend))
        assert result.value is None and "neither a face nor a subject" in result.reason
    one = identity_lock.score(features_of(with_frames(clip, clip.frames[:1]), "mini"))
    assert one.value is None and "2 frames" in one.reason


def test_an_unknown_back_end_names_the_known_ones() -> None:
    with pytest.raises(RewardError, match="no face networks 'arcface'; known are facenet, yunet"):
        identity_lock.score(features_of(render_clip(num_frames=9), "arcface"))


# ---- faces ----


@pytest.fixture
def random_facenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as facenet-pytorch publishes it, with random numbers and the classifier that embeddings do without."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    state = InceptionResnetV1(pretrained=None, classify=True, num_classes=8).state_dict()
    torch.save(dict(state), tmp_path / "20180402-114759-vggface2.pt")
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    return tmp_path / "20180402-114759-vggface2.pt"


def test_facenets_loader_reads_the_published_layout(random_facenet: Path, portrait: Clip) -> None:
    """MTCNN is the real one and finds the face; the embedding is the package's own on the package's own cut."""
    import torch
    from facenet_pytorch import MTCNN, InceptionResnetV1, extract_face, fixed_image_standardization

    close_networks()
    clip = with_frames(portrait, portrait.frames[:4])
    features = features_of(clip, "facenet")
    before = loads["facenet"], loads["mtcnn"]
    track = follow(features)
    assert track is not None and track.is_face and track.backend == "facenet" and track.coverage == 1
    assert (loads["facenet"], loads["mtcnn"]) == (before[0] + 1, before[1] + 1)

    box = MTCNN(keep_all=True).detect(features.frames[0])[0][0]
    own = InceptionResnetV1(pretrained=None)
    state = torch.load(random_facenet, weights_only=True)
    own.load_state_dict({key: value for key, value in state.items() if not key.startswith("logits")})
    with torch.inference_mode():
        expected = own.eval()(fixed_image_standardization(extract_face(features.frames[0], box))[None])[0]
    np.testing.assert_allclose(track.vectors[0], expected.numpy(), atol=1e-4)


def test_a_torn_face_file_is_one_sentence(random_facenet: Path, portrait: Clip) -> None:
    close_networks()
    random_facenet.write_bytes(random_facenet.read_bytes()[:5000])
    with pytest.raises(RewardError, match=r"^The weights file 20180402-114759-vggface2.pt is damaged.*\.$"):
        identity_lock.score(features_of(with_frames(portrait, portrait.frames[:4]), "facenet"))


def test_a_face_without_weights_says_how_to_get_them(no_weights: None, portrait: Clip) -> None:
    """Never the subject in place of the face: that would be another measurement under the same name."""
    close_networks()
    with pytest.raises(RewardUnavailable, match="dailies weights get facenet"):
        identity_lock.score(features_of(with_frames(portrait, portrait.frames[:4]), "facenet"))


@pytest.mark.weights
def test_the_same_face_is_high_and_another_is_low(
    real_weights: Callable[..., None], film: Clip, portrait: Clip
) -> None:
    """Same person 0.76 to 0.95, other people at most 0.30 (the weights' manifest)."""
    real_weights("yunet", "mobilefacenet")
    for clip, other in ((film, portrait), (portrait, film)):
        same = identity_lock.score(features_of(clip, "yunet"))
        changed = identity_lock.score(features_of(other_half(clip, other), "yunet"))
        assert same.details["face"] == 1 and same.details["coverage"] == 1
        assert same.raw is not None and same.raw > 0.76 and same.value == 1 and same.confidence > 0.8
        assert changed.details["worst"] < 0.3 and changed.value == 0


@pytest.mark.weights
def test_among_ten_faces_the_main_one_is_followed(
    real_weights: Callable[..., None], film: Clip, portrait: Clip
) -> None:
    """A large face in the middle of a small crowd."""
    real_weights("yunet", "mobilefacenet")
    small = np.stack([cv2.resize(f, (96, 96), interpolation=cv2.INTER_AREA) for f in portrait.frames[:8]])
    frames = np.zeros((8, 384, 480, 3), np.uint8)
    for row in range(4):
        for column in range(5):
            frames[:, 96 * row : 96 * row + 96, 96 * column : 96 * column + 96] = small
    frames[:, 64:320, 112:368] = film.frames[:8]
    features = features_of(with_frames(film, frames), "yunet")
    result = identity_lock.score(features)
    seen = identity_lock._faces_seen(features)[1]
    assert min(map(len, seen)) >= 10 and result.details["coverage"] == 1
    assert result.value is not None and result.value > 0.9
    track = follow(features)
    assert track is not None
    centres = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2 / features.frames.shape[2:0:-1]
    assert (np.abs(centres - 0.5) < 0.2).all()
    painted = identity_lock.overlays(features)["faces"]
    assert (painted == (80, 255, 80)).all(axis=-1).any() and (painted == (150, 150, 150)).all(axis=-1).any()


@pytest.mark.weights
def test_clips_of_a_group_share_the_face_networks(
    real_weights: Callable[..., None], monkeypatch: pytest.MonkeyPatch, film: Clip, portrait: Clip
) -> None:
    """They are scored in threads, and OpenCV's networks keep the picture that they were given last."""
    real_weights("yunet", "mobilefacenet")
    monkeypatch.setattr("rewards.suite._cores", lambda: 4)
    suite = RewardSuite(Mix(key="x", title="x", weights={"identity_lock": 1.0}, backends={"identity": "yunet"}))
    clips = [with_frames(clip, clip.frames[:10]) for clip in (film, portrait)]
    alone = [suite.score(clip).results["identity_lock"] for clip in clips]
    for report, expected in zip(suite.score_group(clips * 2), alone * 2, strict=True):
        result = report.results["identity_lock"]
        assert result.details == expected.details and result.raw == expected.raw


@pytest.mark.weights
def test_a_face_that_vanishes_costs(real_weights: Callable[..., None], film: Clip) -> None:
    real_weights("yunet", "mobilefacenet")
    frames = film.frames.copy()
    frames[6:] = cv2.GaussianBlur(frames[6], (0, 0), 30)
    gone = identity_lock.score(features_of(with_frames(film, frames), "yunet"))
    assert gone.details["face"] == 1 and gone.details["coverage"] < 0.5
    assert gone.value is not None and gone.value < 0.6
