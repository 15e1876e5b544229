"""I3D (inflated Inception), the network of FVD features: a port that runs published weights.

source      Carreira & Zisserman 2017, arXiv:1705.07750; weights Kinetics-400, Apache-2.0 (DeepMind), with the
            names that the common PyTorch ports give the tensors
input       `uint8[N,16,H,W,3]`, brought to 224x224 and [-1, 1]
output      `float32[N,1024]`: the last block averaged over time and place; or the logits of 400 actions

Padding is "SAME" as in TensorFlow: it depends on the size of the picture, with more at the end than at the start.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewards.networks.cache import device, load_into, open_network, read_tensors
from rewards.networks.video_network import VideoNetwork
from rewards.weights.catalog import resolve

SIDE_PX, WIDTH, CLASSES = 224, 1024, 400
CROPS_AT_ONCE = 4
# Channels: 1x1 | 1x1 to 3x3 | 1x1 to 3x3 (as in the first Inception, a 5x5) | after pooling, 1x1.
MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}

Three = tuple[int, int, int]


class I3D(nn.Module):
    """The network, from `float[N,3,T,224,224]` in [-1, 1] to features or logits."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, (3, 3, 3))
        for name, channels in MIXED.items():
            self.add_module(name, Mixed(*channels))
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(WIDTH, CLASSES, 1)})

    def features(self, x: Tensor) -> Tensor:
        """Return features `float[N,1024]`."""
        x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = pool(self._through("Mixed_3", "bc", x), (3, 3, 3), (2, 2, 2))
        x = pool(self._through("Mixed_4", "bcdef", x), (2, 2, 2), (2, 2, 2))
        return self._through("Mixed_5", "bc", x).mean(dim=(2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `float[N,400]`."""
        found: Tensor = self.logits["conv3d"](self.features(x)[:, :, None, None, None])
        return found.flatten(1)

    def _through(self, stage: str, letters: str, x: Tensor) -> Tensor:
        for letter in letters:
            x = self.get_submodule(stage + letter)(x)
        return x


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, from_: int, to: int, kernel: Three = (1, 1, 1), stride: Three = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(from_, to, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(to, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))))


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, from_: int, one: int, narrow: int, three: int, narrower: int, five: int, pooled: int) -> None:
        super().__init__()
        self.b0 = Unit(from_, one)
        self.b1a, self.b1b = Unit(from_, narrow), Unit(narrow, three, (3, 3, 3))
        self.b2a, self.b2b = Unit(from_, narrower), Unit(narrower, five, (3, 3, 3))
        self.b3b = Unit(from_, pooled)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.b3b(pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled], dim=1)


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad `[..., T, H, W]` with zeros, so that each side becomes its length over the stride, rounded up."""
    widths: list[int] = []
    for size, k, s in zip(x.shape[-1:-4:-1], kernel[::-1], stride[::-1], strict=True):
        missing = max((-(-size // s) - 1) * s + k - size, 0)
        widths += [missing // 2, missing - missing // 2]
    return F.pad(x, widths) if any(widths) else x


def pool(x: Tensor, kernel: Three, stride: Three) -> Tensor:
    """Return the maximum with "SAME" padding; the zeros do no harm after a ReLU."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


def open_i3d() -> I3D:
    """Return the network with its published weights, loaded once a process.

    Raises RewardUnavailable or RewardError.
    """
    return open_network("i3d", _load)


def i3d_features(crops: np.ndarray) -> np.ndarray:
    """Return `float32[N,1024]` of `uint8[N,16,H,W,3]`: the pooled features before the last layer."""
    return _described(open_i3d().features, crops)


def i3d_logits(crops: np.ndarray) -> np.ndarray:
    """Return `float32[N,400]` of `uint8[N,16,H,W,3]`: logits averaged over time, as in published FVDs.

    The reference (arXiv:1812.01717) averages over two steps in time before its last layer, and 16 frames are two steps
    there. The last layer is linear, so its output for the mean is the mean of its outputs.
    """
    return _described(open_i3d(), crops)


@torch.inference_mode()
def _described(describe: Callable[[Tensor], Tensor], crops: np.ndarray) -> np.ndarray:
    found = [describe(to_input(crops[n : n + CROPS_AT_ONCE])) for n in range(0, len(crops), CROPS_AT_ONCE)]
    return np.asarray(torch.cat(found).float().cpu().numpy())


def to_input(crops: np.ndarray) -> Tensor:
    """Convert `uint8[N,T,H,W,3]` to `float32[N,3,T,224,224]` in [-1, 1], on the rewards' device."""
    flat = crops.reshape(-1, *crops.shape[2:])
    resized = np.stack([cv2.resize(frame, (SIDE_PX, SIDE_PX)) for frame in flat])
    pictures = torch.from_numpy(resized.reshape(*crops.shape[:2], SIDE_PX, SIDE_PX, 3)).to(device())
    return pictures.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def fingerprint() -> tuple[float, ...]:
    """Return three numbers that identify the weights; half precision changes them by less than 0.1 %."""
    state: dict[str, Any] = open_i3d().state_dict()
    names = ("Conv3d_1a_7x7.conv3d.weight", "Mixed_4d.b1b.conv3d.weight", "logits.conv3d.weight")
    return tuple(float(state[name].double().abs().mean()) for name in names)


def _load() -> I3D:
    network = load_into(I3D(), read_tensors(resolve("i3d")), "I3D (Kinetics-400)")
    assert isinstance(network, I3D)
    return network


FEATURES = VideoNetwork(side_px=SIDE_PX, describe=i3d_features, fingerprint=fingerprint, as_they_are=True)
LOGITS = VideoNetwork(side_px=SIDE_PX, describe=i3d_logits, fingerprint=fingerprint, as_they_are=True)
