"""A small network that embeds a cut-out subject, for the `mini` back end of identity_lock.

Four convolutions, pooled to 3x3 places, give a unit vector. The network was trained to distinguish the 48 subjects of
the embedded world (6 shapes in 8 colours) by a cut-out. Its weights are in
`assets/reward_nets/mini_subject.safetensors`; `python -m tools.mini.subject_features` makes them again.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewards.networks.cache import load_into, open_network, read_tensors
from rewards.networks.mini_video import TRUNK, convolutions, to_pictures
from rewards.weights.catalog import resolve

SIDE_PX, WIDTH, PLACES = 48, 32, 3
AT_ONCE = 256


class MiniSubject(nn.Module):
    """The network, from `float[N,3,48,48]` in [-1, 1] to unit vectors `float[N,32]`."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(*convolutions(), nn.AdaptiveAvgPool2d(PLACES), nn.Flatten())
        self.project = nn.Linear(TRUNK[-1] * PLACES**2, WIDTH, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return F.normalize(self.project(self.look(pictures)), dim=1)


@torch.inference_mode()
def subject_vectors(cut_outs: np.ndarray) -> np.ndarray:
    """Return unit vectors `float32[N,32]` of `uint8[N,48,48,3]`. Raises RewardUnavailable or RewardError."""
    network = open_network("mini_subject", _load)
    found = [network(to_pictures(cut_outs[n : n + AT_ONCE])) for n in range(0, len(cut_outs), AT_ONCE)]
    return np.asarray(torch.cat(found).float().cpu().numpy())


def _load() -> nn.Module:
    return load_into(MiniSubject(), read_tensors(resolve("mini_subject")), "the embedded world's subject vectors")
