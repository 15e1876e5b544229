"""Interpolation between two pictures by warping both along their optical flow, without a network.

The flow to a moment u between pictures a and b is combined from the flow in both directions (Eq. 4 of Jiang et al.,
Super SloMo, arXiv:1712.00080). Each picture is weighted by its nearness, and by 0 where the other occludes it.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from rewards.vision.flow import DisFlow, visibility, warp

FLOW_SIDE_PX = 192  # smaller pictures are enlarged to this short side before flow is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation:
    """`frames` `uint8[T,H,W,3]`, and `trust` `float32[T,H,W]`, 0..1: the pictures' agreement by pixel."""

    frames: np.ndarray
    trust: np.ndarray


def blend_keyframes(pictures: np.ndarray, places: tuple[int, ...], num_frames: int) -> Interpolation:
    """Return a clip with `pictures` `uint8[N,H,W,3]` at the frames `places`, interpolated in between.

    The first and last keyframes are repeated towards the ends, with trust 0.
    """
    frames = np.empty((num_frames, *pictures.shape[1:]), np.uint8)
    trust = np.zeros((num_frames, *pictures.shape[1:3]), np.float32)
    frames[: places[0]], frames[places[-1] :] = pictures[0], pictures[-1]
    for index, (first, last) in enumerate(pairwise(places)):
        inside = slice(first + 1, last)
        moments = np.arange(1, last - first) / (last - first)
        frames[first] = pictures[index]
        frames[inside], trust[inside] = interpolate(pictures[index], pictures[index + 1], moments)
    trust[list(places)] = 1
    return Interpolation(frames=frames, trust=trust)


def interpolate(a: np.ndarray, b: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures `uint8[M,H,W,3]` at `moments` 0..1 between two, and trust `float32[M,H,W]`."""
    forward, backward = measured_flow(a, b), measured_flow(b, a)
    visible_a, visible_b = visibility(forward, backward)[0], visibility(backward, forward)[0]
    frames = np.empty((len(moments), *a.shape), np.uint8)
    trust = np.empty((len(moments), *a.shape[:2]), np.float32)
    for index, u in enumerate(moments.tolist()):
        to_a = -(1 - u) * u * forward + u * u * backward
        to_b = (1 - u) ** 2 * forward - u * (1 - u) * backward
        warped_a, warped_b = warp(a[None], to_a)[0], warp(b[None], to_b)[0]
        clear_a, clear_b = (warp(v[None].astype(np.float32), f)[0] for v, f in ((visible_a, to_a), (visible_b, to_b)))
        weight_a, weight_b = (1 - u) * (clear_a + 1e-3), u * (clear_b + 1e-3)
        weight = (weight_a / (weight_a + weight_b))[..., None]
        frames[index] = np.round(weight * warped_a + (1 - weight) * warped_b).astype(np.uint8)
        trust[index] = clear_a * clear_b
    return frames, trust


def merge_keyframes(frames: np.ndarray, pictures: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """Put the keyframes `uint8[N,H,W,3]` at `places` into `frames` `uint8[T,H,W,3]` without a flicker.

    The difference of a keyframe to the frame that it replaces is also added to the neighbouring frames, warped along
    the flow, with a weight that falls linearly to 0 at the next keyframe.
    """
    merged = frames.astype(np.float32)
    differences = pictures.astype(np.float32) - frames[list(places)]
    for index, (first, last) in enumerate(pairwise(places)):
        for frame in range(first + 1, last):
            nearness = (frame - first) / (last - first)
            sides = ((first, differences[index], 1 - nearness), (last, differences[index + 1], nearness))
            for place, difference, weight in sides:
                merged[frame] += weight * warp(difference[None], measured_flow(frames[frame], frames[place]))[0]
    merged[list(places)] = pictures
    return np.clip(np.round(merged), 0, 255).astype(np.uint8)


def measured_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the flow `float32[1,H,W,2]` from one picture `uint8[H,W,3]` to another.

    Small pictures are enlarged.
    """

    height, width = a.shape[:2]
    factor = max(1, -(-FLOW_SIDE_PX // min(height, width)))
    size = (width * factor, height * factor)
    large = [cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)[None] for picture in (a, b)]
    flow = DisFlow()(*large)[0]
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / factor, np.float32)[None]
