"""The frames between two pictures, by moving both along the optical flow between them. No network.

Flow to a moment u between pictures a and b is put together from the flow both ways (Eq. 4 of Jiang et al., Super SloMo,
arXiv:1712.00080); each picture counts by its nearness, and not at all where the other hides what it shows.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from rewards.vision.flow import DisFlow, visibility, warp

FLOW_SIDE_PX = 192  # the least short side at which flow is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation:
    """`frames` `uint8[T,H,W,3]`, and where both pictures agree on what is there: `trust` `float32[T,H,W]`, 0..1."""

    frames: np.ndarray
    trust: np.ndarray


def blend_keyframes(pictures: np.ndarray, places: tuple[int, ...], num_frames: int) -> Interpolation:
    """`pictures` `uint8[N,H,W,3]` at the frames `places` (rising), and what flow puts between them.

    Before the first and after the last keyframe it stands still, and is not to be trusted.
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
    """Pictures at `moments` in 0..1 between two: `uint8[M,H,W,3]` and trust `float32[M,H,W]`."""
    there, back = measured_flow(a, b), measured_flow(b, a)
    seen_a, seen_b = visibility(there, back)[0], visibility(back, there)[0]
    made = np.empty((len(moments), *a.shape), np.uint8)
    trust = np.empty((len(moments), *a.shape[:2]), np.float32)
    for index, u in enumerate(moments.tolist()):
        to_a = -(1 - u) * u * there + u * u * back
        to_b = (1 - u) ** 2 * there - u * (1 - u) * back
        moved_a, moved_b = warp(a[None], to_a)[0], warp(b[None], to_b)[0]
        clear_a, clear_b = (warp(s[None].astype(np.float32), f)[0] for s, f in ((seen_a, to_a), (seen_b, to_b)))
        weight_a, weight_b = (1 - u) * (clear_a + 1e-3), u * (clear_b + 1e-3)
        share = (weight_a / (weight_a + weight_b))[..., None]
        made[index] = np.round(share * moved_a + (1 - share) * moved_b).astype(np.uint8)
        trust[index] = clear_a * clear_b
    return made, trust


def merge_keyframes(frames: np.ndarray, pictures: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """`frames` `uint8[T,H,W,3]` with the keyframes `pictures` `uint8[N,H,W,3]` in their `places`, without a flicker.

    What a keyframe differs by from the frame it takes the place of is carried along the flow to the frames around it,
    evenly less down to nothing at the next keyframe.
    """
    settled = frames.astype(np.float32)
    gaps = pictures.astype(np.float32) - frames[list(places)]
    for index, (first, last) in enumerate(pairwise(places)):
        for frame in range(first + 1, last):
            nearness = (frame - first) / (last - first)
            for place, gap, weight in ((first, gaps[index], 1 - nearness), (last, gaps[index + 1], nearness)):
                settled[frame] += weight * warp(gap[None], measured_flow(frames[frame], frames[place]))[0]
    settled[list(places)] = pictures
    return np.clip(np.round(settled), 0, 255).astype(np.uint8)


def measured_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`float32[1,H,W,2]` from one picture `uint8[H,W,3]` to another; small pictures are enlarged to measure it."""
    height, width = a.shape[:2]
    factor = max(1, -(-FLOW_SIDE_PX // min(height, width)))
    size = (width * factor, height * factor)
    large = [cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)[None] for picture in (a, b)]
    flow = DisFlow()(*large)[0]
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / factor, np.float32)[None]
