"""Identity lock: is the face, or else the subject, the same at the end as at the start?

measures    the main face of up to 32 frames, tracked by overlap (and, where that fails, by similarity), as vectors;
            cosine to the medoid of the first eight, half mean and half tenth percentile, x the steadiness of the
            track. Where the clip has no face, the same of a cut-out of its subject, which differs in colour from the
            border or moves against it. A still clip proves nothing, so the motion gate is part of the confidence.
source      faces: Schroff et al. 2015, arXiv:1503.03832; subject consistency: VBench, arXiv:2311.17982
range       raw: cosine; other people stay under 0.3 to 0.4, the same one is above 0.7; higher is better
back ends   `identity` of the mix: "facenet" (MTCNN, InceptionResnetV1), "yunet" (measurements only), "mini" (no faces;
            the embedded network's vector of the subject). Without a face, the first two compare histograms.
licence     facenet-pytorch MIT, its weights from VGGFace2 for research; mini Apache-2.0
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import motion_gate
from rewards.import_object import import_object
from rewards.networks.faces import Face, FaceNetwork, open_faces, overlap
from rewards.networks.frame_embedding import DEFAULT as HISTOGRAM
from rewards.networks.frame_embedding import open_embedder
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import smoothstep_value
from rewards.vision.subject import Subjects, find_subjects

SPEC = RewardSpec(
    key="identity_lock",
    title="Identity lock",
    question="Is the face, or else the subject, the same one from the first frame to the last?",
    unit="cosine to the first frames",
    low=0.3,
    high=0.75,
    needs=("faces", "subjects"),
    per_frame=True,
    licence="facenet-pytorch MIT, weights trained on VGGFace2 (research); mini Apache-2.0",
    source="Schroff et al. 2015, arXiv:1503.03832; VBench, arXiv:2311.17982",
)
BACKEND, DEFAULT, MINI = "identity", "facenet", "mini"
WITHOUT_FACES = (MINI,)
MINI_VECTORS = "rewards.networks.mini_subject:subject_vectors"  # a string, because the module imports torch
MOST_FRAMES = 32
IDENTITY_FRAMES = 8  # frames whose medoid is the identity
WORST_SHARE = 0.1
LEAST_OVERLAP = 0.2
LEAST_SHARE = 0.3  # of the frames (of the first ones: one half) that must show a face for the clip to have one
FULL_COVERAGE = 0.8  # a face in this share of the frames counts as always present
FACE_PX = (20.0, 48.0)  # px of 256: too small to recognise .. clear
CUT_OUT_PX, MARGIN = 48, 1.3
LEAST_SEEN = 2
# The confidence, 0..1, that a subject needs in half of the frames to have an identity. Of the reference clips a crowd
# in a square reaches 0.82 and a panned tree 0, where the tracked place changed when the picture was mirrored; the
# animated rabbit reaches 0.97, the rendered figures 0.99.
STANDS_OUT = 0.9
BORDER, AREA_RANGE = 0.05, 2.5  # shares of the picture; times smaller or larger than usual


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrack:
    """The tracked face or subject: `frames` int[N], `boxes` float64[N,4] in analysis px, `vectors` [N,D].

    The vectors have unit length. `coverage` is the share of the sampled frames that show it; `backend` names the source
    of the vectors.
    """

    frames: np.ndarray
    boxes: np.ndarray
    vectors: np.ndarray
    coverage: float
    confidence: float
    backend: str
    is_face: bool


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip with a face or a subject in 2 frames.

    Raises RewardUnavailable when there is a face and no weights for it.
    """
    clip = features.clip
    if clip.num_frames < 2:
        return not_applicable("Identity over time needs at least 2 frames, but the clip has 1.")
    track = follow(features)
    if track is None:
        return not_applicable("There is neither a face nor a subject that stands out to follow.")
    cosines, measurement = to_identity(track.vectors), f"{SPEC.key}.{track.backend}"
    raw = 0.5 * float(cosines.mean()) + 0.5 * float(np.quantile(cosines, WORST_SHARE))
    present = min(1.0, track.coverage / FULL_COVERAGE) if track.is_face else 1.0
    steps = np.full(clip.num_frames, np.nan)
    steps[track.frames] = features.calibration.map(measurement, cosines)
    return RewardResult(
        value=features.calibration.map(measurement, raw) * present,
        raw=raw,
        backend=track.backend,
        confidence=track.confidence * motion_gate(features),
        per_frame=steps,
        details={"coverage": track.coverage, "face": float(track.is_face), "worst": float(cosines.min())},
    )


def overlays(features: ClipFeatures) -> dict[str, np.ndarray]:
    """Return `faces`: the tracked subject in a white box, green for a face, as last seen; others in grey."""
    track = follow(features) if features.clip.num_frames >= 2 else None
    if track is None:
        return {}
    painted = features.frames.copy()
    colour = (80, 255, 80) if track.is_face else (255, 255, 255)
    for t, frame in enumerate(painted):
        last = int(np.searchsorted(track.frames, t, side="right")) - 1
        if last >= 0:
            _frame_box(frame, track.boxes[last], colour)
    for t, faces in zip(*_faces_seen(features), strict=True):
        for face in faces:
            if not any(np.array_equal(face.box, box) for box in track.boxes):
                _frame_box(painted[t], face.box, (150, 150, 150))
    return {"faces": painted}


def follow(features: ClipFeatures) -> FaceTrack | None:
    """Return the track of the clip's main face, or of its subject, or None; shared."""
    return features.once(BACKEND, lambda: _follow_face(features) or _follow_subject(features))


def to_identity(vectors: np.ndarray) -> np.ndarray:
    """Return `float64[N]`: cosine of each unit vector to the medoid of the first eight."""
    first = vectors[:IDENTITY_FRAMES].astype(np.float64)
    medoid = first[int(np.argmax((first @ first.T).sum(axis=1)))]
    return np.clip(vectors @ medoid, -1, 1)


def main_faces(seen: list[list[Face]], frames: np.ndarray, network: FaceNetwork) -> dict[int, Face]:
    """Return the main face of each frame: the largest one at first, then the one that continues it.

    `seen` are the faces of `frames` uint8[N,H,W,3]. Where no face overlaps the last one, the most similar one is taken,
    so that a change of person gives a low cosine and not a lost track.
    """
    chosen: dict[int, Face] = {}
    last: tuple[np.ndarray, Face] | None = None
    for n, faces in enumerate(seen):
        if not faces:
            continue
        if last is None:
            face = max(faces, key=lambda f: f.area * f.probability)
        else:
            face = _next_face(last, frames[n], faces, network)
        chosen[n], last = face, (frames[n], face)
    return chosen


def _next_face(last: tuple[np.ndarray, Face], frame: np.ndarray, faces: list[Face], network: FaceNetwork) -> Face:
    nearest = max(faces, key=lambda face: overlap(face.box, last[1].box))
    if len(faces) == 1 or overlap(nearest.box, last[1].box) >= LEAST_OVERLAP:
        return nearest
    vectors = network.embed([last, *((frame, face) for face in faces)])
    return faces[int(np.argmax(vectors[1:] @ vectors[0]))]


def _follow_face(features: ClipFeatures) -> FaceTrack | None:
    looked_at, seen = _faces_seen(features)
    if not _has_face([bool(faces) for faces in seen]):
        return None
    network, frames = open_faces(features.backend(BACKEND, DEFAULT)), features.frames[looked_at]
    main = main_faces(seen, frames, network)
    sizes = [face.side_px * features.unit for face in main.values()]
    sure = float(np.mean([face.probability for face in main.values()]))
    coverage = len(main) / len(looked_at)
    return FaceTrack(
        frames=looked_at[list(main)],
        boxes=np.stack([face.box for face in main.values()]),
        vectors=network.embed([(frames[n], face) for n, face in main.items()]),
        coverage=coverage,
        confidence=sure * coverage * smoothstep_value(float(np.median(sizes)), *FACE_PX),
        backend=network.name,
        is_face=True,
    )


def _faces_seen(features: ClipFeatures) -> tuple[np.ndarray, list[list[Face]]]:
    """Return the sampled frames and the faces in them; none for a back end without a face detector."""
    name, looked_at = features.backend(BACKEND, DEFAULT), _looked_at(features.clip.num_frames)
    if name == MINI:
        return looked_at, [[] for _ in looked_at]
    return looked_at, features.once("faces", lambda: open_faces(name).find(features.frames[looked_at]))


def _has_face(seen: list[bool]) -> bool:
    first = seen[: max(1, len(seen) // 4)]
    return sum(seen) >= LEAST_SEEN and (sum(seen) >= LEAST_SHARE * len(seen) or sum(first) >= len(first) / 2)


def _follow_subject(features: ClipFeatures) -> FaceTrack | None:
    subjects, looked_at = find_subjects(features), _looked_at(features.clip.num_frames)
    found = looked_at[plain(subjects)[looked_at]]
    if len(found) < LEAST_SEEN or float(np.median(subjects.confidence)) < STANDS_OUT:
        return None
    height, width = features.frames.shape[1:3]
    boxes = subjects.boxes[found] * (width, height, width, height)
    cut_outs = np.stack([cut_out(features.frames[t], box) for t, box in zip(found, boxes, strict=True)])
    mini = features.backend(BACKEND, DEFAULT) == MINI
    return FaceTrack(
        frames=found,
        boxes=boxes,
        vectors=import_object(MINI_VECTORS)(cut_outs) if mini else open_embedder(HISTOGRAM)(cut_outs),
        coverage=len(found) / len(looked_at),
        confidence=float(subjects.confidence[found].mean()) * len(found) / len(looked_at),
        backend=MINI if mini else HISTOGRAM,
        is_face=False,
    )


def plain(subjects: Subjects) -> np.ndarray:
    """Return `bool[T]`: the subject is found whole, neither cut by the border nor a remaining speck."""
    boxes, areas = subjects.boxes, subjects.areas
    inside = (boxes[:, :2] > BORDER).all(axis=1) & (boxes[:, 2:] < 1 - BORDER).all(axis=1)
    usual = float(np.median(areas[inside])) if inside.any() else 0.0
    whole: np.ndarray = inside & (areas > usual / AREA_RANGE) & (areas < usual * AREA_RANGE)
    return whole


def cut_out(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return `uint8[48,48,3]`: the square around a box, a third wider; the picture's edge is replicated."""
    (x, y), reach = (box[:2] + box[2:]) / 2, max(MARGIN * float((box[2:] - box[:2]).max()) / 2, 1.0)
    side = max(CUT_OUT_PX, round(2 * reach))  # a smaller picture is made by averaging, not by skipping px
    scale = side / (2 * reach)
    move = np.array([[scale, 0, side / 2 - scale * x], [0, scale, side / 2 - scale * y]])
    square = cv2.warpAffine(frame, move, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(square, (CUT_OUT_PX, CUT_OUT_PX), interpolation=cv2.INTER_AREA)


def _looked_at(num_frames: int) -> np.ndarray:
    return np.unique(np.linspace(0, num_frames - 1, min(num_frames, MOST_FRAMES)).round().astype(int))


def _frame_box(picture: np.ndarray, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 1)
