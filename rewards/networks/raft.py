"""torchvision's RAFT, optical flow by a network, for a GPU; the interface is that of `DisFlow`.

source      Teed & Deng 2020, arXiv:2003.12039; torchvision's weights C_T_SKHT_V2 (large) and C_T_V2 (small)
licence     BSD-3-Clause
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rewards.networks.cache import device, load_into, open_network, read_tensors
from rewards.weights.catalog import resolve

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftFlow:
    """RAFT: `variant` is "large" or "small", `pairs` the batch size; it runs on the rewards' device.

    The first call raises RewardUnavailable when the weights are not on this machine, RewardError when they do not fit.
    """

    variant: str
    pairs: int = 16

    @property
    def name(self) -> str:
        return f"raft_{self.variant}"

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        import torch

        model = open_network(self.name, self._load)
        flow = np.empty((*first.shape[:3], 2), np.float32)
        with torch.inference_mode():
            for n in range(0, len(first), self.pairs):
                a, b = (_to_model(x[n : n + self.pairs]) for x in (first, second))
                found = model(a, b)[-1][..., : first.shape[1], : first.shape[2]]
                flow[n : n + self.pairs] = found.permute(0, 2, 3, 1).float().cpu().numpy()
        return flow

    def _load(self) -> Any:
        from torchvision.models import optical_flow

        build = {"large": optical_flow.raft_large, "small": optical_flow.raft_small}[self.variant]
        return load_into(build(weights=None, progress=False), read_tensors(resolve(self.name)), self.name)


def _to_model(frames: np.ndarray) -> "Tensor":
    """Convert `uint8[N,H,W,3]` to `float32[N,3,H',W']` in [-1, 1], H' and W' the next multiples of 8."""
    import torch

    height, width = frames.shape[1:3]
    images = torch.from_numpy(np.ascontiguousarray(frames)).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.nn.functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
