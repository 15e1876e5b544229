"""LAION's aesthetic predictor, a back end of `aesthetic`: ratings 1 to 10 of CLIP ViT-L/14 vectors.

The head is a sequence of affine maps, read from its file: one for "sa_0_4_vit_l_14_linear" (weights `laion_aesthetic`,
MIT, github.com/LAION-AI/aesthetic-predictor), five without activations for "sac+logos+ava1-l14-linearMSE"
(github.com/christophschuhmann/improved-aesthetic-predictor, Apache-2.0), which the user can put in its place. The
vectors come from `rewards.networks.open_clip_model` and are shared with `clip_vid` when it uses the same network.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.networks.cache import open_network, read_tensors
from rewards.networks.open_clip_model import encode_group, frame_vectors, open_clip_net, sampled_frames
from rewards.weights.catalog import resolve

if TYPE_CHECKING:
    from torch import Tensor

CLIP = "ViT-L-14"
HEAD = "laion_aesthetic"
_NUMBER = re.compile(r"(?:^|\.)(\d+)\.")

Head = list[tuple[np.ndarray, np.ndarray]]
"""Matrices `float32[O,I]` and offsets `float32[O]`, in the order in which they apply."""


def rate(features: ClipFeatures, chosen: np.ndarray) -> np.ndarray:
    """Return ratings `float64[N]` of the frames numbered `chosen`.

    They must be among CLIP's `sampled_frames`. Raises RewardUnavailable when the head or ViT-L/14 is not on this
    machine.
    """
    path = resolve(HEAD)
    head = open_network(HEAD, lambda: read_head(path))
    vectors = frame_vectors(features, CLIP)
    places = np.searchsorted(sampled_frames(features.clip.num_frames), chosen)
    return apply_head(head, vectors[places])


def rate_pixels(frames: "Tensor") -> "Tensor":
    """Return ratings `float32[B,N]` of frames `float[B,N,3,H,W]` in 0..1, with gradients to the frames."""
    import torch

    path = resolve(HEAD)
    values = open_clip_net(CLIP).encode_pixels(frames.flatten(0, 1))
    for matrix, offset in open_network(HEAD, lambda: read_head(path)):
        values = values @ torch.from_numpy(matrix).to(values).T + torch.from_numpy(offset).to(values)
    return values[:, 0].unflatten(0, frames.shape[:2])


def prepare(group: Sequence[ClipFeatures]) -> None:
    """Encode the frames of all clips by CLIP in one batch."""
    resolve(HEAD)
    encode_group(group, CLIP)


def read_head(path: Path) -> Head:
    """Read a head from torch's format: "weight" and "bias", or several of them numbered.

    Raises RewardError for another file.
    """
    tensors = read_tensors(path)
    names = sorted((name for name in tensors if name.endswith("weight")), key=_number)
    try:
        head = [
            (tensors[name].float().numpy(), tensors[f"{name.removesuffix('weight')}bias"].float().numpy())
            for name in names
        ]
    except KeyError as error:
        raise RewardError(f"{path.name} is no aesthetic head: {error} is missing.") from error
    if not head or any(a.shape[0] != b.shape[1] for (a, _), (b, _) in pairwise(head)):
        raise RewardError(f"{path.name} is no aesthetic head: its layers do not fit together.")
    if head[-1][0].shape[0] != 1:
        raise RewardError(f"{path.name} is no aesthetic head: it has {head[-1][0].shape[0]} outputs instead of one.")
    return head


def apply_head(head: Head, vectors: np.ndarray) -> np.ndarray:
    """Return ratings `float64[N]` of unit vectors `float32[N,D]`.

    Raises RewardError when D is not the head's.
    """
    if vectors.shape[1] != head[0][0].shape[1]:
        wanted, got = head[0][0].shape[1], vectors.shape[1]
        raise RewardError(f"The aesthetic head takes vectors of {wanted} numbers, but CLIP {CLIP} gives {got}.")
    values = np.asarray(vectors, np.float64)
    for matrix, offset in head:
        values = values @ matrix.T.astype(np.float64) + offset
    return np.asarray(values[:, 0])


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[1]) if found else 0
