"""Maps of the perceptual distance between two pictures: LPIPS and a small substitute.

LpipsAlex   the `lpips` package: AlexNet and its learned heads   (Zhang et al. 2018, arXiv:1801.03924; BSD-2-Clause)
MiniMaps    the same comparison of unit-length features, unweighted, over the maps of the `mini` video network, at
            its training size of 64 px
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np

from rewards.errors import RewardError
from rewards.networks.cache import device, open_network, read_tensors
from rewards.weights.catalog import resolve

PAIRS_AT_ONCE = 16
UNIT_EPS = 1e-10


class Perceptual(Protocol):
    """A function from two `uint8[N,H,W,3]` to distances `float32[N,H,W]` >= 0."""

    @property
    def name(self) -> str: ...

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LpipsAlex:
    """LPIPS version 0.1. Raises RewardUnavailable without AlexNet's weights."""

    name: str = "alex"

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        network = open_network("lpips_alex", _load_lpips)

        import torch

        found = np.empty(first.shape[:3], np.float32)
        with torch.inference_mode():
            for n in range(0, len(first), PAIRS_AT_ONCE):
                part = slice(n, n + PAIRS_AT_ONCE)
                found[part] = network(_pictures(first[part]), _pictures(second[part]))[:, 0].float().cpu().numpy()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniMaps:
    """Distances by `rewards.networks.mini_video`. Raises RewardUnavailable without its weights."""

    name: str = "mini"

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        from rewards.networks.mini_video import SIDE_PX, picture_maps

        size = first.shape[2], first.shape[1]
        found = np.empty(first.shape[:3], np.float32)
        for n in range(0, len(first), PAIRS_AT_ONCE):
            part = slice(n, n + PAIRS_AT_ONCE)
            small = [resized(frames[part], (SIDE_PX, SIDE_PX)) for frames in (first, second)]
            distances = unit_distance(picture_maps(small[0]), picture_maps(small[1]), SIDE_PX)
            found[part] = np.stack([cv2.resize(d, size, interpolation=cv2.INTER_LINEAR) for d in distances])
        return found


PERCEPTUALS: dict[str, Callable[[], Perceptual]] = {"alex": LpipsAlex, "mini": MiniMaps}


@cache
def open_perceptual(name: str) -> Perceptual:
    """Return the perceptual distance of that name. Raises RewardError for an unknown one."""
    if name not in PERCEPTUALS:
        raise RewardError(f"There is no perceptual distance {name!r}; known are {', '.join(sorted(PERCEPTUALS))}.")
    return PERCEPTUALS[name]()


def unit_distance(first: list[Any], second: list[Any], side_px: int) -> np.ndarray:
    """Return `float32[N,side,side]`: squared distance of unit features, summed over maps `[N,C,h,w]`."""
    from torch.nn import functional as F

    total: Any = 0
    for a, b in zip(first, second, strict=True):
        squared = (_unit(a) - _unit(b)).square().sum(dim=1, keepdim=True)
        total = total + F.interpolate(squared, size=(side_px, side_px), mode="bilinear", align_corners=False)
    return np.asarray(total[:, 0].float().cpu().numpy())


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `uint8[N,H,W,3]` to `size` (width, height)."""
    if frames.shape[2:0:-1] == size:
        return frames
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _unit(maps: Any) -> Any:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + UNIT_EPS)


def _pictures(frames: np.ndarray) -> Any:
    """Convert `uint8[N,H,W,3]` to `float32[N,3,H,W]` in [-1, 1], the input of the package."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1


def _load_lpips() -> Any:
    """Build the package's network without weights and load the files, so that it downloads nothing."""
    files = resolve("lpips_heads"), resolve("alexnet")  # before the import, which takes seconds

    import lpips

    heads, trunk = map(read_tensors, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchvision warns about the package's arguments
        network = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, spatial=True, verbose=False)
    own = network.state_dict()
    # The trunk's five slices number their layers as torchvision's `features` does: net.slice2.3.weight.
    layers = {key: f"features.{key.split('.', 2)[2]}" for key in own if key.startswith("net.")}
    missing = [name for name in layers.values() if name not in trunk]
    if missing or any(trunk[name].shape != own[key].shape for key, name in layers.items()):
        raise RewardError("The file of AlexNet's weights contains another network: get it again.")
    filled = {**own, **heads, **{key: trunk[name].float() for key, name in layers.items()}}
    network.load_state_dict(filled)
    return network.eval().requires_grad_(False).to(device())
