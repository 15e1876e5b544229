"""Where the subject is, without a network: what differs in colour from the picture's border, or moves against it.

    colour   Mahalanobis distance in Lab from the pixels of the border (background prior; Wei et al. 2012,
             doi:10.1007/978-3-642-33712-3_3)
    motion   flow against the picture's own median flow

The strongest connected blob is the subject. Its moments, not its extreme pixels, make the box, so that it is steady.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rewards.features import ClipFeatures

SIDE_PX = 64
BORDER_SHARE = 0.1
COLOUR_DISTANCE = (2.0, 5.0)  # standard deviations from the border's colours: ground .. subject
MOTION_PX = (1.0, 4.0)  # px of 256 a frame against the rest: ground .. subject
AREA_SHARE = (0.002, 0.6)  # a subject that may be framed
EXTENT = 1.85  # standard deviations from the centre to the side of the box: 2 for a disc, 1.73 for a square


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """`boxes` float64[T,4]: x0, y0, x1, y1 in shares of width and height, NaN without a subject; `confidence` [T]."""

    boxes: np.ndarray
    confidence: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """`bool[T]`."""
        return np.isfinite(self.boxes[:, 0])

    @property
    def centres(self) -> np.ndarray:
        """`float64[T,2]`: x, y in shares."""
        return np.asarray((self.boxes[:, :2] + self.boxes[:, 2:]) / 2)

    @property
    def areas(self) -> np.ndarray:
        """`float64[T]` in shares of the picture."""
        return np.asarray((self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1]))


def find_subjects(features: ClipFeatures) -> Subjects:
    """The subject of every frame of the clip; shared by the rewards that need it."""
    return features.once("subjects", lambda: _find(features))


def _find(features: ClipFeatures) -> Subjects:
    motion = _motion_maps(features)
    found = [_blob(_colour_map(frame), moving) for frame, moving in zip(features.frames, motion, strict=True)]
    boxes, confidence = zip(*found, strict=True)
    return Subjects(boxes=np.stack(boxes), confidence=np.array(confidence))


def _colour_map(frame: np.ndarray) -> np.ndarray:
    """`float32[64,64]` in 0..1: how unlike the border's colours a place is."""
    small = cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), (0, 0), 1)
    width = max(2, int(BORDER_SHARE * SIDE_PX))
    ring = np.ones((SIDE_PX, SIDE_PX), bool)
    ring[width:-width, width:-width] = False
    border = lab[ring]
    middle = np.median(border, axis=0)
    spread = (border - middle).T @ (border - middle) / len(border) + 16 * np.eye(3)  # at least 4 levels of Lab
    away = lab.reshape(-1, 3) - middle
    distance = np.sqrt(np.einsum("nc,cd,nd->n", away, np.linalg.inv(spread), away)).reshape(SIDE_PX, SIDE_PX)
    return _ramp(distance, *COLOUR_DISTANCE)


def _motion_maps(features: ClipFeatures) -> np.ndarray:
    """`float32[T,64,64]` in 0..1: what moves against the rest; the last frame as the one before."""
    flow = features.flow[0]
    if not len(flow):
        return np.zeros((features.clip.num_frames, SIDE_PX, SIDE_PX), np.float32)
    against = flow - np.median(flow.reshape(len(flow), -1, 2), axis=1)[:, None, None]
    speed = np.hypot(against[..., 0], against[..., 1]) * features.visible * features.texture[:-1] * features.unit
    small = np.stack([cv2.resize(s, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for s in speed])
    maps = _ramp(small, *MOTION_PX)
    return np.concatenate([maps, maps[-1:]])


def _blob(colour: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, float]:
    """Box and confidence of the heaviest connected blob; NaN and 0 when there is none of a usable size."""
    strength = np.maximum(colour, 0.7 * cv2.GaussianBlur(motion, (0, 0), 1.5))
    count, labels = cv2.connectedComponents((strength > 0.35).astype(np.uint8))
    nothing = (np.full(4, np.nan), 0.0)
    if count < 2:
        return nothing
    weights = np.bincount(labels.ravel(), strength.ravel())
    weights[0] = 0
    blob = np.where(labels == int(np.argmax(weights)), strength, 0)
    if not AREA_SHARE[0] <= float((blob > 0).mean()) <= AREA_SHARE[1]:
        return nothing
    return _box(blob), float(weights.max() / weights.sum())


def _box(blob: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of the blob along x and y, as a box in shares of the picture."""
    places = (np.arange(SIDE_PX) + 0.5) / SIDE_PX
    sides = []
    for along in (blob.sum(axis=0), blob.sum(axis=1)):
        middle = float((along * places).sum() / along.sum())
        reach = EXTENT * float(np.sqrt((along * (places - middle) ** 2).sum() / along.sum()))
        sides.append((middle - reach, middle + reach))
    (x0, x1), (y0, y1) = sides
    return np.array([x0, y0, x1, y1])


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)
