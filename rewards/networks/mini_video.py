"""The small video network of the `mini` back ends: 0.3 M parameters, trained on the embedded world.

    trunk     four 2-D convolutions, one frame at a time   -> maps, which compare pictures (t_lpips)
    motion    the trunk's second map of 16 frames through
              three 3-D convolutions, mean and maximum     -> features of a stretch (fvd_lite)

Its weights are in `assets/reward_nets/mini_video.safetensors`; `python -m tools.mini.video_features` makes them again.
"""

import numpy as np
import torch
from torch import Tensor, nn

from rewards.networks.cache import device, load_into, open_network, read_tensors
from rewards.networks.video_network import VideoNetwork
from rewards.weights.catalog import resolve

SIDE_PX = 64
CROP_FRAMES = 16
TRUNK = (24, 32, 48, 64)
MOTION = (48, 64, 64)
CONTENT_WIDTH = 2 * MOTION[-1]
EVERYWHERE = (2, 3, 4)
CHANNELS_A_GROUP = 8
FRAMES_AT_ONCE = 256


class MiniVideo(nn.Module):
    """The network; pictures are `float[N,3,H,W]` in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(convolutions())
        a, b, c = MOTION
        self.motion = nn.Sequential(
            _block(nn.Conv3d(TRUNK[1], a, 3, 2, 1, bias=False), a),
            _block(nn.Conv3d(a, b, 3, (2, 1, 1), 1, bias=False), b),
            _block(nn.Conv3d(b, c, 3, (1, 2, 2), 1, bias=False), c),
        )

    def maps(self, pictures: Tensor, depth: int = len(TRUNK)) -> list[Tensor]:
        """Return the first `depth` maps `float[N,C,h,w]`, finest first."""
        found = []
        for block in list(self.trunk)[:depth]:
            pictures = block(pictures)
            found.append(pictures)
        return found

    def forward(self, crops: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return motion features `float[N,128]` of `float[N,3,16,H,W]`, and maps `float[N,C,16,h,w]`."""
        count, _, frames = crops.shape[:3]
        flat = self.maps(crops.transpose(1, 2).flatten(0, 1), depth=2)
        maps = [found.unflatten(0, (count, frames)).transpose(1, 2) for found in flat]
        seen = self.motion(maps[-1])
        return torch.cat([seen.mean(dim=EVERYWHERE), seen.amax(dim=EVERYWHERE)], dim=1), maps

    def describe(self, crops: Tensor) -> Tensor:
        """Return `float[N,296]`: motion features and statistics of the maps.

        The statistics of each channel are its mean, its spread over the picture and its change between frames. The mean
        describes content, the others noise, blur and flicker.
        """
        happens, maps = self(crops)
        looks = [(m.mean(EVERYWHERE), m.std(EVERYWHERE), m.diff(dim=2).abs().mean(EVERYWHERE)) for m in maps]
        return torch.cat([happens, *(part for parts in looks for part in parts)], dim=1)


def open_mini_video() -> MiniVideo:
    """Return the trained network, loaded once a process. Raises RewardUnavailable or RewardError."""
    return open_network("mini_video", _load)


@torch.inference_mode()
def picture_maps(frames: np.ndarray) -> list[Tensor]:
    """Return the trunk's maps of `uint8[N,64,64,3]`."""
    return open_mini_video().maps(to_pictures(frames))


@torch.inference_mode()
def stretch_features(crops: np.ndarray) -> np.ndarray:
    """Return `float32[N,296]` of `uint8[N,16,64,64,3]`."""
    network, at_once = open_mini_video(), FRAMES_AT_ONCE // CROP_FRAMES
    found = []
    for n in range(0, len(crops), at_once):
        part = crops[n : n + at_once]
        pictures = to_pictures(part.reshape(-1, *part.shape[2:]))
        found.append(network.describe(pictures.unflatten(0, part.shape[:2]).transpose(1, 2)))
    return np.asarray(torch.cat(found).float().cpu().numpy())


def fingerprint() -> tuple[float, ...]:
    """Return three numbers that identify the weights."""
    layers = open_mini_video()
    weights = layers.trunk[0], layers.motion[0], layers.motion[2]
    return tuple(float(next(layer.parameters()).double().abs().mean()) for layer in weights)


def to_pictures(frames: np.ndarray) -> Tensor:
    """Convert `uint8[N,H,W,3]` to `float32[N,3,H,W]` in [-1, 1] on the rewards' device."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1


def _load() -> MiniVideo:
    network = load_into(MiniVideo(), read_tensors(resolve("mini_video")), "the embedded world's video features")
    assert isinstance(network, MiniVideo)
    return network


def convolutions() -> list[nn.Sequential]:
    """Return four blocks from pictures to maps of `TRUNK` channels at 1/2, 1/4, 1/8 and 1/8 of the size."""
    widths = zip((3, *TRUNK), TRUNK, (5, 3, 3, 3), (2, 2, 2, 1), strict=False)
    return [_block(nn.Conv2d(a, b, k, s, k // 2, bias=False), b) for a, b, k, s in widths]


def _block(convolution: nn.Module, width: int) -> nn.Sequential:
    """Return a block that normalises each sample by itself, because samples of a batch are unrelated."""
    return nn.Sequential(convolution, nn.GroupNorm(width // CHANNELS_A_GROUP, width), nn.ReLU())


STRETCHES = VideoNetwork(side_px=SIDE_PX, describe=stretch_features, fingerprint=fingerprint, as_they_are=False)
