"""Find the subject without a network: it differs in colour from the border or moves against it.

    colour   Lab distance from the nearest of the border's four main colours (background prior; Wei et al. 2012,
             doi:10.1007/978-3-642-33712-3_3)
    motion   flow against the picture's own median flow

Both maps are relative to the strongest place of the frame, and their weight falls with the area that they cover: a map
that marks the whole frame finds no subject. The heaviest connected blob is the subject; its box is computed from its
moments, not from its extreme pixels, and a median over five frames removes single misses. A network (faces, a detector)
can replace this method through `FINDERS`; the mix selects it under `subject`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.import_object import import_object
from rewards.time_series import running_median

SIDE_PX = 64
BORDER_SHARE = 0.1
BORDER_COLOURS = 4
LEAST_COLOUR = 18.0  # Lab distance that the strongest place needs to count in full
LEAST_MOTION_PX = 2.0  # px of 256 a frame against the rest, likewise
THRESHOLD = 0.4  # of the strongest place
DIFFUSE_SHARE = 0.35  # a map above the threshold over this share of the frame is worthless
AREA_SHARE = (0.002, 0.6)  # a subject that may be framed
EXTENT = 1.85  # standard deviations from the centre to the side of the box: 2 for a disc, 1.73 for a square
SMOOTH_FRAMES = 2  # on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """The subject of each frame: `boxes` float64[T,4] and `confidence` [T].

    A box is x0, y0, x1, y1 in shares of width and height, NaN without a subject.
    """

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


FINDERS = {"saliency": "rewards.vision.subject:by_saliency"}
DEFAULT = "saliency"


def find_subjects(features: ClipFeatures) -> Subjects:
    """Return the subject of every frame of the clip; shared.

    Raises RewardError for an unknown subject finder.
    """
    name = features.backend("subject", DEFAULT)
    if name not in FINDERS:
        raise RewardError(f"There is no subject finder {name!r}; known are {', '.join(sorted(FINDERS))}.")
    finder: Callable[[ClipFeatures], Subjects] = import_object(FINDERS[name])
    return features.once("subjects", lambda: finder(features))


def by_saliency(features: ClipFeatures) -> Subjects:
    """Find the subject by colour and motion, without a network."""
    motion = _motion_maps(features)
    strengths = (np.maximum(_colour_map(f), m) for f, m in zip(features.frames, motion, strict=True))
    found = [_blob(strength) for strength in strengths]
    boxes, confidence = zip(*found, strict=True)
    smooth = np.stack([running_median(side, SMOOTH_FRAMES) for side in np.stack(boxes).T], axis=1)
    return Subjects(boxes=smooth, confidence=np.array(confidence))


def _colour_map(frame: np.ndarray) -> np.ndarray:
    """Return `float32[64,64]` in 0..1: distance from the border's colours, relative to the largest one."""
    small = cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), (0, 0), 1)
    width = max(2, int(BORDER_SHARE * SIDE_PX))
    ring = np.ones((SIDE_PX, SIDE_PX), bool)
    ring[width:-width, width:-width] = False
    cv2.setRNGSeed(0)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    border = lab[ring]
    border = border[np.lexsort(np.rint(border.T))]  # k-means draws by place, so that a mirrored frame would differ
    _, labels, colours = cv2.kmeans(border, BORDER_COLOURS, None, until, 1, cv2.KMEANS_PP_CENTERS)
    common = colours[np.bincount(labels.ravel(), minlength=BORDER_COLOURS) > 0.1 * ring.sum()]
    distance = np.linalg.norm(lab[:, :, None] - common, axis=-1).min(axis=-1)
    return _relative(distance, LEAST_COLOUR)


def _motion_maps(features: ClipFeatures) -> np.ndarray:
    """Return `float32[T,64,64]` in 0..1: motion against the rest; the last frame repeats the one before."""
    flow = features.flow[0]
    if not len(flow):
        return np.zeros((features.clip.num_frames, SIDE_PX, SIDE_PX), np.float32)
    against = flow - np.median(flow.reshape(len(flow), -1, 2), axis=1)[:, None, None]
    speed = np.hypot(against[..., 0], against[..., 1]) * features.visible * features.texture[:-1] * features.unit
    small = [cv2.resize(s, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for s in speed]
    maps = np.stack([_relative(cv2.GaussianBlur(s, (0, 0), 1.5), LEAST_MOTION_PX) for s in small])
    return np.concatenate([maps, maps[-1:]])


def _relative(values: np.ndarray, least: float) -> np.ndarray:
    """Return values over the strongest one (at least `least`), less where they are diffuse."""
    share = np.clip(values / max(float(np.percentile(values, 99)), least), 0, 1)
    worth = max(0.0, 1 - float((share > THRESHOLD).mean()) / DIFFUSE_SHARE)
    return np.asarray(share * np.sqrt(worth), np.float32)


def _blob(strength: np.ndarray) -> tuple[np.ndarray, float]:
    """Return box and confidence of the heaviest connected blob; NaN and 0 without one of usable size."""
    count, labels = cv2.connectedComponents((strength > THRESHOLD).astype(np.uint8))
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
    """Return the box of the blob in shares of the picture, from its mean and deviation along x and y."""
    places = (np.arange(SIDE_PX) + 0.5) / SIDE_PX
    sides = []
    for along in (blob.sum(axis=0), blob.sum(axis=1)):
        middle = float((along * places).sum() / along.sum())
        reach = EXTENT * float(np.sqrt((along * (places - middle) ** 2).sum() / along.sum()))
        sides.append((middle - reach, middle + reach))
    (x0, x1), (y0, y1) = sides
    return np.array([x0, y0, x1, y1])
