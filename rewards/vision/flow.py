"""Optical flow between neighbouring frames, and quantities that follow from both directions of it.

Flow is `float32[N,H,W,2]` in px: by `flow[n, y, x] = (dx, dy)`, the point (x, y) of the first picture is at
(x + dx, y + dy) in the second. All back ends implement `FlowBackend`; the mix names one under `flow`:

    dis                      OpenCV DIS, on the CPU, no weights  (Kroeger et al. 2016, arXiv:1603.03590; Apache-2.0)
    raft_large, raft_small   torchvision's RAFT, for a GPU       (rewards/networks/raft.py)
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import cv2
import numpy as np

from rewards.errors import RewardError
from rewards.networks.raft import RaftFlow

# Forward-backward check: |f + b|^2 <= ALPHA (|f|^2 + |b|^2) + BETA  (Sundaram et al. 2010; EvalCrafter uses the same).
VISIBLE_ALPHA, VISIBLE_BETA_PX2 = 0.01, 0.5
RAFTS = {"raft_large": "large", "raft_small": "small"}
FLOWS = ("dis", *RAFTS)


class FlowBackend(Protocol):
    """A function from pairs of `uint8[N,H,W,3]` (short side >= 128 px) to flow `float32[N,H,W,2]` in px."""

    @property
    def name(self) -> str: ...

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DisFlow:
    """Dense inverse search with OpenCV's fast preset: about 4 ms a pair of 256x256 on one core.

    DIS propagates matches from left to right, so that the mirrored pair has another flow. Both are computed and
    averaged: the flow of a mirrored clip is the mirrored flow.
    """

    name: str = "dis"

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow = np.empty((*first.shape[:3], 2), np.float32)
        axis = contrast_axis(first)
        for n, (a, b) in enumerate(zip(to_gray(first, axis), to_gray(second, axis), strict=True)):
            mirrored = dis.calc(cv2.flip(a, 1), cv2.flip(b, 1), None)[:, ::-1] * np.array([-1, 1], np.float32)
            flow[n] = (dis.calc(a, b, None) + mirrored) / 2
        return flow


def open_flow(name: str = "dis") -> FlowBackend:
    """Return the optical flow of that name. Raises RewardError for an unknown one.

    A network is loaded at its first call, which raises RewardUnavailable when its weights are not on this machine.
    """
    if name == "dis":
        return DisFlow()
    if name not in RAFTS:
        raise RewardError(f"There is no optical flow {name!r}; known are {', '.join(FLOWS)}.")

    return RaftFlow(variant=RAFTS[name])


def contrast_axis(frames: np.ndarray) -> np.ndarray:
    """Return weights of red, green, blue along which `uint8[N,H,W,3]` has the steepest edges.

    They are `float64[3]` with an absolute sum of 1. Luma loses an orange shape on a grey background of the same
    brightness; on most films this axis is close to luma.
    """
    energy = np.zeros((3, 3))
    for frame in frames[np.unique(np.linspace(0, len(frames) - 1, 8).astype(int))] if len(frames) else frames:
        levels = frame.astype(np.float32)
        for axis in (0, 1):
            slopes = np.diff(levels, axis=axis).reshape(-1, 3)
            energy += slopes.T @ slopes
    weights = np.linalg.eigh(energy + 1e-3 * np.ones((3, 3)))[1][:, -1]  # the ones: luma when there are no edges
    weights = weights / np.abs(weights).sum()
    return np.asarray(weights if weights.sum() >= 0 else -weights)


def to_gray(frames: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return `uint8[N,H,W]`: colours projected on `axis`, shifted so that black stays in range."""
    offset = -255 * float(np.minimum(axis, 0).sum())
    matrix = np.array([[*axis, offset]])
    return np.array([cv2.transform(frame, matrix).reshape(frame.shape[:2]) for frame in frames], np.uint8).reshape(
        frames.shape[:3]
    )


def flow_both_ways(frames: np.ndarray, backend: FlowBackend) -> tuple[np.ndarray, np.ndarray]:
    """Return forward (t to t+1) and backward flow of `uint8[T,H,W,3]`, each `float32[T-1,H,W,2]`."""
    return backend(frames[:-1], frames[1:]), backend(frames[1:], frames[:-1])


def warp(images: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Warp `images[N,H,W(,C)]` of second pictures back to the first along `flow[N,H,W,2]`; same type."""
    warped = np.empty_like(images)
    grid = pixel_grid(*flow.shape[1:3])
    for n, (image, move) in enumerate(zip(images, flow, strict=True)):
        warped[n] = cv2.remap(image, grid + move, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def visibility(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return `bool[N,H,W]`: pixels of the first picture that the second shows too.

    There the two flows agree, and the target is inside the frame.
    """
    seen = np.empty(forward.shape[:3], bool)
    for n, (there, back) in enumerate(zip(forward, backward, strict=True)):
        seen[n] = _agree(there, back)
    return seen


def _agree(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Compare the flows of one pair.

    A loop over pairs keeps the working set in the cache: 3 times as fast as whole-clip arrays.
    """
    height, width = there.shape[:2]
    target = pixel_grid(height, width) + there
    back = cv2.remap(back, target, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap, there_2, back_2 = (_squared_length(v) for v in (there + back, there, back))
    inside = cv2.inRange(target, (0, 0), (width - 1, height - 1)) > 0
    return np.asarray((gap <= VISIBLE_ALPHA * (there_2 + back_2) + VISIBLE_BETA_PX2) & inside)


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    dx, dy = cv2.split(vectors)
    return np.asarray(dx * dx + dy * dy)


def relative_acceleration(flow: np.ndarray, weights: np.ndarray, unit: float) -> float:
    """Return the mean of |f'(x + f) - f| / (|f| + |f'| + 1) over two steps `flow[2,H,W,2]`.

    Lengths are in px times `unit`. The mean is weighted by `weights[H,W]` (some above 0) of the first picture.
    """
    then = warp(flow[1][None], flow[0][None])[0]
    change, before, after = (cv2.magnitude(*cv2.split(v)) * unit for v in (then - flow[0], flow[0], then))
    return float((change / (before + after + 1) * weights).sum()) / float(weights.sum())


@cache
def pixel_grid(height: int, width: int) -> np.ndarray:
    """`float32[H,W,2]` of (x, y) pixel coordinates."""
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    grid.flags.writeable = False
    return grid


def flow_picture(flow: np.ndarray) -> np.ndarray:
    """Return `uint8[N,H,W,3]`: hue is the direction, saturation the speed over the clip's 99th percentile."""
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    speed = np.hypot(flow[..., 0], flow[..., 1])
    scale = max(float(np.percentile(speed, 99)) if speed.size else 0.0, 1e-3)
    hue = ((angle + np.pi) / (2 * np.pi) * 179).astype(np.uint8)
    saturation = (np.clip(speed / scale, 0, 1) * 255).astype(np.uint8)
    hsv = np.stack([hue, saturation, np.full_like(hue, 255)], axis=-1)
    return np.stack([cv2.cvtColor(f, cv2.COLOR_HSV2RGB) for f in hsv]) if len(hsv) else hsv
