"""`ClipFeatures`: the expensive features of one clip, computed at most once and shared by all rewards.

Rewards use the clip at *analysis size*, with a short side of 192..256 px. Clips of 64x64 are enlarged three times,
because dense flow needs several px per moving edge (measured error of 1.5 px motion: 0.13 px at 192 px, 0.19 at 64 px);
4K is reduced. Lengths in rewards are in *px of 256*: shares of the short side, so that one anchor fits all sizes. Flat
areas have no flow of their own (any value warps them onto themselves), so averages over flow are weighted by `texture`.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import cv2
import numpy as np

from rewards.calibration import Calibration, read_calibration
from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.networks.frame_embedding import DEFAULT, FrameEmbedder, open_embedder
from rewards.vision.camera import camera_step
from rewards.vision.flow import (
    DisFlow,
    FlowBackend,
    contrast_axis,
    flow_both_ways,
    relative_acceleration,
    to_gray,
    visibility,
    warp,
)

Value = TypeVar("Value")

SHORT_SIDE_PX = (192, 256)
REFERENCE_PX = 256
MAX_ASPECT = 8.0
TEXTURE_LEVELS = (2.0, 8.0)  # grey levels a px: below the first nothing can be tracked, above the second it can
FOLLOWABLE = 0.3  # texture
RESIDUAL_LEVELS = 20.0  # grey levels at which a warped pixel counts as explained by 1/e
FASTEST_SHARE = 0.05
WORST_ACCELERATION = 1.0
LEAST_AREA, LEAST_SHARE = 0.0005, 0.25
UNCHANGED = frozenset(
    "frames gray texture flow visible visible_back warped visible_share speed least_px acceleration"
    " camera unexplained histograms sharpness soft_edges jump_series thumbnails"
    " repetition horizon_angles liveness"
    " followable_share exaggeration fade_gains mixture_share copied_share".split()
)
"""Pieces that depend on the clip and the flow alone, not on the calibration or another back end."""
BACKED = {"lpips": "lpips", "video": "video", "subjects": "subject", "faces": "identity"}
"""Pieces that depend on one back end more, and its name."""
_MATCH = np.exp(-np.arange(256, dtype=np.float32) / RESIDUAL_LEVELS)  # by residual in grey levels


class ClipFeatures:
    """Lazy, memoised features of `clip`. Not thread-safe: one clip belongs to one worker.

    `backends` maps a shared piece (`flow`, `frames`, `clip`, ...) to its back end; rewards read it with `backend()`.
    `counts` is the number of times that each piece was computed (a test holds it to 1), `seconds` its own time.
    Raises RewardError for pictures more than 8 times as long as wide.
    """

    def __init__(
        self,
        clip: Clip,
        *,
        flow: FlowBackend | None = None,
        calibration: Calibration | None = None,
        backends: Mapping[str, str] | None = None,
    ) -> None:
        if max(clip.height, clip.width) > MAX_ASPECT * min(clip.height, clip.width):
            raise RewardError(
                f"A clip of {clip.width}x{clip.height} is too elongated to score: crop it to 8:1 or less."
            )
        self.clip = clip
        self.calibration = calibration or read_calibration()
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self._flow_backend = flow or DisFlow()
        self._backends = dict(backends or {})
        self._pieces: dict[str, Any] = {}
        self._nested_s = 0.0

    # ---- sharing ----

    def once(self, name: str, compute: Callable[[], Value]) -> Value:
        """Return the shared piece `name`, computed at the first call and remembered afterwards."""
        if name not in self._pieces:
            outer_s, self._nested_s, start = self._nested_s, 0.0, time.perf_counter()
            self._pieces[name] = compute()
            elapsed_s = time.perf_counter() - start
            self.seconds[name] = elapsed_s - self._nested_s
            self._nested_s = outer_s + elapsed_s
            self.counts[name] += 1
        piece: Value = self._pieces[name]
        return piece

    def put(self, name: str, value: Any, seconds: float = 0.0) -> None:
        """Store a piece that was computed for a group of clips at once, and this clip's share of the time."""
        self._pieces[name] = value
        self.seconds[name] = seconds
        self.counts[name] += 1

    def recast(
        self, *, calibration: Calibration | None = None, backends: Mapping[str, str] | None = None
    ) -> "ClipFeatures":
        """Return features of the clip for another calibration or back ends; pieces without either are kept."""
        other = ClipFeatures(
            self.clip,
            flow=self._flow_backend,
            calibration=calibration or self.calibration,
            backends=self._backends if backends is None else backends,
        )
        same = {piece for piece, name in BACKED.items() if other._backends.get(name) == self._backends.get(name)}
        other._pieces = {name: piece for name, piece in self._pieces.items() if name in UNCHANGED | same}
        return other

    def has(self, name: str) -> bool:
        """Return True when the piece was computed already."""
        return name in self._pieces

    def backend(self, piece: str, default: str) -> str:
        """Return the back end that the mix names for `piece`, `default` when it names none."""
        return self._backends.get(piece, default)

    # ---- pictures ----

    @cached_property
    def frames(self) -> np.ndarray:
        """`uint8[T,h,w,3]` at analysis size."""
        return self.once("frames", lambda: to_analysis_size(self.clip.frames))

    @cached_property
    def gray(self) -> np.ndarray:
        """`uint8[T,h,w]` at analysis size, along the colour axis of highest contrast."""
        return self.once("gray", lambda: to_gray(self.frames, contrast_axis(self.frames)))

    @property
    def unit(self) -> float:
        """Number of px of 256 in one analysis px."""
        return REFERENCE_PX / min(self.frames.shape[1:3])

    @cached_property
    def texture(self) -> np.ndarray:
        """`float32[T,h,w]` in 0..1: how well a pixel can be tracked."""
        return self.once("texture", lambda: np.stack([_texture(g) for g in self.gray]))

    @property
    def followable_share(self) -> float:
        """Mean share of the picture with enough texture to be followed."""
        return self.once("followable_share", lambda: float((self.texture > FOLLOWABLE).mean()))

    @property
    def embedder(self) -> FrameEmbedder:
        """The network or function that turns frames into vectors; the mix names it under `frames`."""
        return open_embedder(self.backend("frames", DEFAULT))

    @cached_property
    def embeddings(self) -> np.ndarray:
        """`float32[T,D]`: one unit vector a frame, by the mix's embedder."""
        if self.embedder.name == DEFAULT:
            return self.histograms
        return self.once("embeddings", lambda: self.embedder(self.frames))

    @cached_property
    def histograms(self) -> np.ndarray:
        """`float32[T,D]`: one unit vector a frame, by the embedder without weights."""
        return self.once("histograms", lambda: open_embedder(DEFAULT)(self.frames))

    # ---- motion ----

    @cached_property
    def flow(self) -> tuple[np.ndarray, np.ndarray]:
        """Forward (t to t+1) and backward (t+1 to t) flow, each `float32[T-1,h,w,2]` in analysis px."""
        return self.once("flow", lambda: flow_both_ways(self.frames, self._flow_backend))

    def flow_between(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forward and backward flow between the frames numbered `first` and `second`, each `float32[N,h,w,2]`."""
        if len(first) and np.array_equal(second, first + 1):
            return self.flow[0][first], self.flow[1][first]
        pictures = self.frames[first], self.frames[second]
        return self._flow_backend(*pictures), self._flow_backend(*pictures[::-1])

    @property
    def flow_name(self) -> str:
        return self._flow_backend.name

    @cached_property
    def visible(self) -> np.ndarray:
        """`bool[T-1,h,w]`: pixels of frame t that frame t+1 shows too."""
        return self.once("visible", lambda: visibility(*self.flow))

    @cached_property
    def visible_back(self) -> np.ndarray:
        """`bool[T-1,h,w]`: pixels of frame t+1 that frame t shows too."""
        return self.once("visible_back", lambda: visibility(*self.flow[::-1]))

    @cached_property
    def warped(self) -> np.ndarray:
        """`uint8[T-1,h,w,3]`: frame t+1 fetched back to where things were at frame t."""
        return self.once("warped", lambda: warp(self.frames[1:], self.flow[0]))

    @cached_property
    def visible_share(self) -> np.ndarray:
        """`float64[T-1]`: share of the textured area of frame t that frame t+1 shows too; 1 without texture."""
        return self.once("visible_share", lambda: _share(self.visible, self.texture[:-1]))

    @cached_property
    def speed(self) -> np.ndarray:
        """`float64[T-1]`: mean flow of the fastest 5 %, px of 256 a second; 0 where not visible."""
        return self.once("speed", self._measure_speed)

    def _measure_speed(self) -> np.ndarray:
        fastest = []
        for flow, seen in zip(self.flow[0], self.visible, strict=True):
            moves = (cv2.magnitude(*cv2.split(flow)) * seen).ravel()
            count = max(1, int(FASTEST_SHARE * moves.size))
            fastest.append(float(np.partition(moves, -count)[-count:].mean()))
        return np.array(fastest) * self.unit * self.clip.fps

    @property
    def least_px(self) -> float:
        """The least textured area from which motion is measured: a quarter of the clip's median.

        A shape that has almost left the picture is no evidence.
        """
        return self.once("least_px", self._measure_least_px)

    def _measure_least_px(self) -> float:
        usual = float(np.median(self.texture.sum(axis=(1, 2), dtype=np.float64)))
        return max(LEAST_AREA * float(self.gray[0].size), LEAST_SHARE * usual)

    @cached_property
    def acceleration(self) -> np.ndarray:
        """`float64[T-2]`: mean relative acceleration at frames 1..T-2, NaN with too little to track.

        It is 1, the worst, where the clip has texture and nothing of it can be tracked.
        """
        return self.once("acceleration", self._measure_acceleration)

    def _measure_acceleration(self) -> np.ndarray:
        steps = np.full(max(0, len(self.flow[0]) - 1), np.nan)
        for t in range(len(steps)):
            flow, (now, then) = self.flow[0][t : t + 2], self.visible[t : t + 2]
            seen = warp(then[None].astype(np.float32), flow[:1])[0] * now * self.texture[t]
            if self.can_follow(t, float(seen.sum())):
                steps[t] = relative_acceleration(flow, seen, self.unit)
        if len(steps) and not np.isfinite(steps).any():  # noise: all texture, none of it seen again
            textured = self.texture[: len(steps)].sum(axis=(1, 2)) >= self.least_px
            steps[textured] = WORST_ACCELERATION
        return steps

    def can_follow(self, t: int, seen_px: float) -> bool:
        """Return True when frame t has enough texture, and `seen_px` of it is enough to be measured.

        Noise has texture of which next to nothing is visible again: it is measured, too.
        """
        return float(self.texture[t].sum()) >= self.least_px and seen_px >= LEAST_AREA * self.gray[0].size

    @cached_property
    def camera(self) -> np.ndarray:
        """`float64[T-1,3]`: shift x, y (shares of the short side) and roll (degrees) of every step.

        They are those of the similarity that fits most of the textured area or, where most of the picture's outer ring
        moves otherwise, the ring: a large subject that tilts is no camera. NaN where too little can be tracked. The
        roll is NaN too where the area that fits spans less than 0.6 of the width: a lone shape may turn by itself.
        """
        return self.once("camera", self._measure_camera)

    def _measure_camera(self) -> np.ndarray:
        seen = self.visible & (self.texture[:-1] > FOLLOWABLE)
        steps = [camera_step(flow, mask, self.least_px) for flow, mask in zip(self.flow[0], seen, strict=True)]
        return np.array(steps).reshape(-1, 3)

    @cached_property
    def unexplained(self) -> np.ndarray:
        """`float64[T-1]` in 0..1: share of the textured area that flow explains neither forward nor backward.

        It is the lower one of the two directions, so that an object that enters or leaves does not count; where only
        one of the two pictures has texture, it is that picture's share. It is scaled down where both have less than
        half of the clip's usual texture: the last corner of an object that leaves is no evidence. The overall change of
        brightness is removed. Real motion and bounces stay under 0.65, hard cuts measure 0.7 to 1.
        """
        return self.once("unexplained", self._measure_unexplained)

    def _measure_unexplained(self) -> np.ndarray:
        warped_back = warp(self.frames[:-1], self.flow[1])
        forward = _unexplained(self.frames[:-1], self.warped, self.visible, self.texture[:-1])
        back = _unexplained(self.frames[1:], warped_back, self.visible_back, self.texture[1:])
        empty = LEAST_AREA * self.gray[0].size
        shares = [np.where(area >= empty, part / np.maximum(area, empty), np.inf) for part, area in (forward, back)]
        lower = np.minimum(*shares)
        enough = np.minimum(1, (forward[1] + back[1]) / (4 * self.least_px))
        return np.where(np.isfinite(lower), lower, 0) * enough


def to_analysis_size(frames: np.ndarray) -> np.ndarray:
    """Resize `uint8[N,H,W,3]` to the size at which clips are analysed."""
    short = min(frames.shape[1:3])
    scale = float(np.clip(short, *SHORT_SIDE_PX)) / short
    if scale == 1:
        return frames
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.stack([cv2.resize(f, size, interpolation=how) for f in frames])


def _texture(gray: np.ndarray) -> np.ndarray:
    dx, dy = (cv2.Scharr(gray, cv2.CV_32F, *axis) / 32 for axis in ((1, 0), (0, 1)))
    slope = np.sqrt(cv2.GaussianBlur(dx * dx + dy * dy, (0, 0), 2))
    low, high = TEXTURE_LEVELS
    return np.clip((slope - low) / (high - low), 0, 1).astype(np.float32)


def _share(mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=(1, 2), dtype=np.float64)
    inside = (weights * mask).sum(axis=(1, 2), dtype=np.float64)
    return np.where(total > 0, inside / np.maximum(total, 1e-12), 1.0)


def _unexplained(
    target: np.ndarray, warped: np.ndarray, seen: np.ndarray, texture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return two `float64[N]` in px: textured area that is hidden or differs in colour, and all of it."""
    lost, shown = [], []
    for here, there, mask, weight in zip(target, warped, seen, texture, strict=True):
        gain = (sum(cv2.mean(here)) + 1) / (sum(cv2.mean(there)) + 1)
        residual = cv2.absdiff(cv2.convertScaleAbs(there, alpha=gain), here)
        matches = _MATCH[cv2.max(cv2.max(residual[..., 0], residual[..., 1]), residual[..., 2])]
        lost.append(float(((1 - mask * matches) * weight).sum()))
        shown.append(float(weight.sum()))
    return np.array(lost), np.array(shown)
