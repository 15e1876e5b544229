"""Detection of saturated subjects in a clip, and their tracks over time.

Subjects are the only saturated colours of `mini`'s world. Pixels are sorted by hue into layers (one for each colour of
the clip), each layer is cut into connected blobs, and blobs are joined into tracks over time.
Arrays: T frames, H W pixels (x right, y down); lengths in px.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from engine.mini import world

MIN_CHROMA = 70.0  # backgrounds of the world reach 50, its palest subject 122
MIN_FULL_CHROMA = 85.0  # of fully covered pixels of a subject; less is a noisy background
MAX_LAYERS = 5
MAX_BLOBS = 3  # things of one colour
MAX_TRACKS = 6
MIN_BLOB_PX = 12  # smaller ones are ghosts, or the last corner of a subject that leaves
MIN_LAYER_PX = 30  # what a layer must cover in at least MIN_SEEN frames
MIN_SEEN = 3
MAX_BLOB_SHARE = 0.5  # share of the picture; more is a background
MAX_SATURATED_SHARE = 0.55  # of a clip; with more, no subject stands out
GHOST_SHARE = 0.2  # of the largest blob of the same colour
HUE_BIN_DEG = 4
MIN_HUE_GAP_DEG = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTrack:
    """One thing over time.

    `alpha` is its coverage float32[T,H,W] in 0..1; `hue_deg` its mean hue in 0..360. `present` bool[T]; `centre` and
    `low`/`high` (the edges of its box) float[T,2] as x, y; `area` float[T] in px. `cut` bool[T,2,2] is True where the
    picture's edge hides a part of it, as [frame, axis x or y, low or high side].
    """

    alpha: np.ndarray
    hue_deg: float
    present: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray
    area: np.ndarray
    cut: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """Return `bool[T]`: visible, with no part hidden."""
        return self.present & ~self.cut.any(axis=(1, 2))

    @property
    def first_frame(self) -> int:
        return int(np.argmax(self.present))

    @property
    def presence(self) -> float:
        """Return the share of the frames, from its first one on, in which it is visible."""
        return float(self.present[self.first_frame :].mean())


def find_tracks(frames: np.ndarray) -> list[SubjectTrack]:
    """Return the tracks of a clip `uint8[T,H,W,3]`, at most MAX_TRACKS, by covered area, largest first."""
    chroma = chroma_plane(frames)
    hues = _hue_peaks(chroma)
    tracks = [track for layer, hue in _layers(chroma, hues) for track in _tracks(layer, hue)]
    return sorted(tracks, key=lambda track: -float(track.area.sum()))[:MAX_TRACKS]


def chroma_plane(frames: np.ndarray) -> np.ndarray:
    """Return `float32[T,H,W,2]`: slightly smoothed red-green and yellow-blue opponents, 0 for grey."""
    red, green, blue = (frames[..., channel].astype(np.float32) for channel in range(3))
    plane = np.stack([red - 0.5 * (green + blue), np.float32(np.sqrt(0.75)) * (green - blue)], axis=-1)
    return np.stack([cv2.GaussianBlur(picture, (3, 3), 0.6) for picture in plane])


def hue_of(colour: tuple[int, int, int]) -> float:
    """Return the hue of an RGB colour, degrees in 0..360."""
    red, green, blue = colour
    return float(np.degrees(np.arctan2(np.sqrt(0.75) * (green - blue), red - 0.5 * (green + blue))) % 360)


def hue_gap(a: float | np.ndarray, b: float | np.ndarray) -> np.ndarray:
    """Return the distance of two hues on the circle, degrees in 0..180."""
    return np.abs((np.asarray(a) - b + 180) % 360 - 180)


def _hue_peaks(chroma: np.ndarray) -> np.ndarray:
    """Return the hues of a clip, `float[L]` degrees: the peaks of its hue histogram."""
    a, b = chroma[..., 0].ravel(), chroma[..., 1].ravel()
    saturated = a * a + b * b > MIN_CHROMA**2
    hues = np.degrees(np.arctan2(b[saturated], a[saturated])) % 360
    if not MIN_LAYER_PX <= hues.size <= MAX_SATURATED_SHARE * saturated.size:
        return np.empty(0)
    bins = np.histogram(hues, bins=360 // HUE_BIN_DEG, range=(0, 360))[0].astype(np.float64)
    smooth = np.array([1, 3, 4, 3, 1]) @ np.stack([np.roll(bins, shift) for shift in range(-2, 3)]) / 12
    floor = MIN_LAYER_PX * MIN_SEEN * 0.1
    peaks: list[int] = []
    for index in np.argsort(-smooth, kind="stable"):
        near = [hue_gap(index * HUE_BIN_DEG, peak * HUE_BIN_DEG) < MIN_HUE_GAP_DEG for peak in peaks]
        rises = smooth[index] >= max(smooth[index - 1], smooth[(index + 1) % len(smooth)])
        if rises and smooth[index] > floor and not any(near):
            peaks.append(int(index))
    return np.array([_refined(hues, (peak + 0.5) * HUE_BIN_DEG) for peak in peaks[:MAX_LAYERS]])


def _refined(hues: np.ndarray, peak: float) -> float:
    """Return the mean of the hues around a peak."""
    offset = (hues - peak + 180) % 360 - 180
    return float((peak + offset[np.abs(offset) <= 2.5 * HUE_BIN_DEG].mean()) % 360)


def _layers(chroma: np.ndarray, hues: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return the coverage `float32[T,H,W]` and hue of each colour that is strong enough for a subject.

    A pixel belongs to the hue in whose direction its chroma is largest; its coverage is 0 at the background's chroma
    and 1 at the subject's.
    """
    while len(hues):
        leans = _leans(chroma, hues)
        owner = np.argmax(leans, axis=0) if len(hues) > 1 else np.zeros(chroma.shape[:3], np.intp)
        levels = np.array([_full_level(lean[owner == index]) for index, lean in enumerate(leans)])
        if (levels >= MIN_FULL_CHROMA).all():
            return [
                (
                    np.where(owner == index, np.clip((lean - base) / (full - base), 0, 1), 0).astype(np.float32),
                    float(hue),
                )
                for index, (lean, full, hue) in enumerate(zip(leans, levels, hues, strict=True))
                for base in [_base_level(lean)]
            ]
        hues = hues[levels >= MIN_FULL_CHROMA]
    return []


def _leans(chroma: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """Return the chroma of each pixel in the direction of each hue, `float32[L,T,H,W]`."""
    angles = np.radians(hues).astype(np.float32)
    return np.stack([chroma[..., 0] * np.cos(angle) + chroma[..., 1] * np.sin(angle) for angle in angles])


def _full_level(lean: np.ndarray) -> float:
    """Return the chroma of the pixels that a colour covers fully.

    It is taken from the upper tail, since a noisy background has more pixels than the subject.
    """
    strong = lean[lean > MIN_CHROMA]
    return float(np.median(strong[strong > 0.7 * np.percentile(strong, 98)])) if strong.size else 0.0


def _base_level(lean: np.ndarray) -> float:
    """Return the background's chroma in the direction of a hue."""
    some = lean[:: max(1, len(lean) // 4)]
    return float(np.clip(np.median(some[some < MIN_CHROMA]), -40, 40)) if (some < MIN_CHROMA).any() else 0.0


def _tracks(alpha: np.ndarray, hue_deg: float) -> list[SubjectTrack]:
    """Return the tracks of one colour: as many as there are blobs in most of the frames with any."""
    labels, blobs = _blobs(alpha)
    if sum(sum(area for _, area, _ in of_frame) >= MIN_LAYER_PX for of_frame in blobs) < min(MIN_SEEN, len(alpha)):
        return []
    number = min(MAX_BLOBS, round(float(np.median([len(of_frame) for of_frame in blobs if of_frame]))))
    picked = _joined(blobs, number)
    tracks = []
    for slot in range(number):
        mask = (labels == picked[:, slot, None, None]) & (picked[:, slot, None, None] > 0)
        tracks.append(_measured(_spread(mask, alpha) if number == 1 else alpha * mask, hue_deg))
    return [track for track in tracks if track.present.sum() >= min(MIN_SEEN, len(alpha))]


_Blob = tuple[int, int, np.ndarray]  # its label, area in px, centre x, y


def _blobs(alpha: np.ndarray) -> tuple[np.ndarray, list[list[_Blob]]]:
    """Return the connected blobs of each frame, largest first, and the label image `int32[T,H,W]`."""
    labels = np.zeros(alpha.shape, np.int32)
    found: list[list[_Blob]] = []
    for t, mask in enumerate((alpha > 0.5).astype(np.uint8)):
        _, labels[t], stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        least = max(MIN_BLOB_PX, GHOST_SHARE * areas.max(initial=0))
        kept = np.flatnonzero((areas >= least) & (areas <= MAX_BLOB_SHARE * mask.size)) + 1
        found.append(sorted(((int(k), int(areas[k - 1]), centres[k]) for k in kept), key=lambda blob: -blob[1]))
    return labels, found


def _joined(blobs: list[list[_Blob]], number: int) -> np.ndarray:
    """Return the label of each of `number` things in each frame, `int[T,number]`, 0 where not visible.

    The nearest blobs of successive frames are joined.
    """
    picked = np.zeros((len(blobs), number), np.int64)
    last: list[np.ndarray | None] = [None] * number
    for t, of_frame in enumerate(blobs):
        free = list(range(number))
        for label, _, centre in of_frame[:number]:
            away = [np.inf if (seen := last[k]) is None else float(np.hypot(*(centre - seen))) for k in free]
            slot = free.pop(int(np.argmin(away)))
            picked[t, slot], last[slot] = label, centre
    return picked


def _spread(mask: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return `alpha` within one pixel of `mask`, so that soft edges stay with their blob."""
    kernel = np.ones((3, 3), np.uint8)
    return alpha * np.stack([cv2.dilate(picture, kernel) for picture in mask.astype(np.uint8)])


def _measured(alpha: np.ndarray, hue_deg: float) -> SubjectTrack:
    area = alpha.sum(axis=(1, 2), dtype=np.float64)
    present = (alpha > 0.5).sum(axis=(1, 2)) >= MIN_BLOB_PX
    sides = [_side(alpha, area, axis) for axis in (1, 2)]
    centre, low, high, cut = (np.stack(parts, axis=1) for parts in zip(*sides, strict=True))
    return SubjectTrack(
        alpha=alpha, hue_deg=hue_deg, present=present, centre=centre, low=low, high=high, area=area, cut=cut
    )


def _side(alpha: np.ndarray, area: np.ndarray, over: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return centre, low edge, high edge `float[T]` and `cut` bool[T,2] along the axis other than `over`."""
    mass = alpha.sum(axis=over, dtype=np.float64)
    profile = alpha.max(axis=over)
    length = profile.shape[1]
    centre = mass @ (np.arange(length) + 0.5) / np.maximum(area, 1e-6)
    low, high = _edge(profile), length - _edge(profile[:, ::-1])
    return centre, low, high, profile[:, [0, -1]] > 0.5


def _edge(profile: np.ndarray) -> np.ndarray:
    """Return the position where each row of `float[T,N]` first crosses one half, px in 0..N."""
    rows = np.arange(len(profile))
    first = np.argmax(profile >= 0.5, axis=1)
    here, before = profile[rows, first], np.where(first > 0, profile[rows, first - 1], 0.0)
    return first + 0.5 - np.where(first > 0, (here - 0.5) / np.maximum(here - before, 1e-6), 0.5)


def to_world_size(frames: np.ndarray) -> np.ndarray:
    """Return the frames scaled to the world's size, so that px mean the same at any size of the clip."""
    if frames.shape[1:3] == (world.SIZE_PX, world.SIZE_PX):
        return frames
    side = (world.SIZE_PX, world.SIZE_PX)
    return np.stack([cv2.resize(picture, side, interpolation=cv2.INTER_AREA) for picture in frames])


def best_of(fit: dict[str, float], least: float) -> str | None:
    name = max(fit, key=lambda key: fit[key], default=None)
    return name if name is not None and fit[name] >= least else None


def ramp(value: float, low: float, high: float) -> float:
    """Return 0 at `low`, 1 at `high` (which may be the smaller), and linear values between."""
    return float(np.clip((value - low) / (high - low), 0, 1))
