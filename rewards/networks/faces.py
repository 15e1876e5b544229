"""Face detection, and an embedding of the identity of each face.

facenet   MTCNN (Zhang et al. 2016, arXiv:1604.02878) and InceptionResnetV1 on VGGFace2 (facenet-pytorch; MIT)
yunet     YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y; Apache-2.0) and MobileFaceNet (Chen et al. 2018,
          arXiv:1804.07573; trained on a withdrawn data set: for measurements only)
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np

from rewards.errors import RewardError
from rewards.networks.cache import device, load_into, open_network, read_tensors
from rewards.weights.catalog import resolve

LEAST_PROBABILITY = 0.8
LEAST_FACE_PX = 20
FRAMES_AT_ONCE, FACES_AT_ONCE = 16, 32
# Where the eyes, the nose and the corners of the mouth lie in an aligned face of 112x112 (the ArcFace template).
TEMPLATE_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
ALIGNED_PX = 112
IMAGENET_MEAN, IMAGENET_STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
# Clips of a group are scored in threads. OpenCV's networks keep their input between two calls; torch's keep no state.
_finding, _embedding = threading.Lock(), threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face: `box` float64[4] (x0, y0, x1, y1 in px), `points` float32[5,2] and `probability` 0..1.

    The points are the eyes, the nose and the corners of the mouth.
    """

    box: np.ndarray
    points: np.ndarray
    probability: float

    @property
    def side_px(self) -> float:
        return float(np.sqrt(max(self.area, 0.0)))

    @property
    def area(self) -> float:
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceNetwork(Protocol):
    """Finds faces in `uint8[N,H,W,3]` and embeds faces as unit vectors `float32[M,D]`."""

    @property
    def name(self) -> str: ...

    def find(self, frames: np.ndarray) -> list[list[Face]]: ...

    def embed(self, faces: Sequence[tuple[np.ndarray, Face]]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FacenetPytorch:
    """The two networks of facenet-pytorch. Only `embed` needs weights that do not come with the package."""

    name: str = "facenet"

    def find(self, frames: np.ndarray) -> list[list[Face]]:
        detector = open_network("mtcnn", _load_mtcnn)
        found: list[list[Face]] = []
        for n in range(0, len(frames), FRAMES_AT_ONCE):
            boxes, probabilities, points = detector.detect(frames[n : n + FRAMES_AT_ONCE], landmarks=True)
            found += [_mtcnn_faces(*one) for one in zip(boxes, probabilities, points, strict=True)]
        return found

    def embed(self, faces: Sequence[tuple[np.ndarray, Face]]) -> np.ndarray:
        network = open_network("facenet", _load_facenet)

        import torch

        cut = torch.stack([_facenet_picture(frame, face) for frame, face in faces]).to(device())
        with torch.inference_mode():
            vectors = [network(cut[n : n + FACES_AT_ONCE]) for n in range(0, len(cut), FACES_AT_ONCE)]
        return np.asarray(torch.cat(vectors).float().cpu().numpy())


@dataclass(frozen=True, slots=True, kw_only=True)
class YunetMobileFaceNet:
    """YuNet and MobileFaceNet in OpenCV, from files in the user's folder of weights."""

    name: str = "yunet"

    def find(self, frames: np.ndarray) -> list[list[Face]]:
        detector = open_network("yunet", lambda: cv2.FaceDetectorYN.create(str(resolve("yunet")), "", (320, 320)))
        with _finding:
            detector.setScoreThreshold(LEAST_PROBABILITY)
            detector.setInputSize((frames.shape[2], frames.shape[1]))
            return [_yunet_faces(detector.detect(np.ascontiguousarray(frame[..., ::-1]))[1]) for frame in frames]

    def embed(self, faces: Sequence[tuple[np.ndarray, Face]]) -> np.ndarray:
        network = open_network("mobilefacenet", lambda: cv2.dnn.readNetFromONNX(str(resolve("mobilefacenet"))))
        vectors = []
        for frame, face in faces:
            picture = (aligned(frame, face.points) / 255 - IMAGENET_MEAN) / IMAGENET_STD
            with _embedding:
                network.setInput(picture.transpose(2, 0, 1)[None].astype(np.float32))
                vectors.append(network.forward()[0].copy())
        found = np.stack(vectors)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


FACE_NETWORKS: dict[str, Callable[[], FaceNetwork]] = {"facenet": FacenetPytorch, "yunet": YunetMobileFaceNet}


@cache
def open_faces(name: str) -> FaceNetwork:
    """Return the face networks of that name. Raises RewardError for an unknown one."""
    if name not in FACE_NETWORKS:
        raise RewardError(f"There are no face networks {name!r}; known are {', '.join(sorted(FACE_NETWORKS))}.")
    return FACE_NETWORKS[name]()


def aligned(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return `uint8[112,112,3]`: the face, its points rotated, shifted and scaled to the template."""
    move, _ = cv2.estimateAffinePartial2D(points, TEMPLATE_PX, method=cv2.LMEDS)
    if move is None:
        raise RewardError("The five points of a face coincide, so it cannot be aligned.")
    return cv2.warpAffine(frame, move, (ALIGNED_PX, ALIGNED_PX))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return shared / max(areas - shared, 1e-9)


def _mtcnn_faces(boxes: Any, probabilities: Any, points: Any) -> list[Face]:
    if boxes is None:
        return []
    found = zip(np.asarray(boxes, np.float64), probabilities, np.asarray(points, np.float32), strict=True)
    faces = (Face(box=box, points=five, probability=float(p)) for box, p, five in found)
    return [face for face in faces if face.probability >= LEAST_PROBABILITY]


def _yunet_faces(rows: np.ndarray | None) -> list[Face]:
    """Convert rows of x, y, width, height, five points and score."""
    found = []
    for row in () if rows is None else rows:
        x, y, width, height = row[:4].astype(np.float64)
        box = np.array([x, y, x + width, y + height])
        found.append(Face(box=box, points=row[4:14].reshape(5, 2), probability=float(min(row[14], 1.0))))
    return found


def _facenet_picture(frame: np.ndarray, face: Face) -> Any:
    """Return `float32[3,160,160]` in the network's input format, cropped by the package's own function."""
    from facenet_pytorch import extract_face, fixed_image_standardization

    height, width = frame.shape[:2]
    x0, y0 = np.clip(face.box[:2], 0, (width - 2, height - 2))
    x1, y1 = np.clip(face.box[2:], (x0 + 1, y0 + 1), (width, height))
    return fixed_image_standardization(extract_face(frame, np.array([x0, y0, x1, y1])))


def _load_mtcnn() -> Any:
    from facenet_pytorch import MTCNN

    resolve("mtcnn")
    return MTCNN(keep_all=True, min_face_size=LEAST_FACE_PX, device=device()).eval()


def _load_facenet() -> Any:
    """Load the network without its last layer, which classifies the 8,631 people of VGGFace2."""
    tensors = read_tensors(resolve("facenet"))

    from facenet_pytorch import InceptionResnetV1

    kept = {key: value for key, value in tensors.items() if not key.startswith("logits.")}
    return load_into(InceptionResnetV1(pretrained=None, classify=False), kept, "InceptionResnetV1 (VGGFace2)")
