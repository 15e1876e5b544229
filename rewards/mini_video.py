"""The small network behind every `mini` back end that looks at pictures: 0.3 M parameters, trained on the drawn world.

    trunk     four 2-D convolutions, one frame at a time   -> maps to compare pictures by (t_lpips)
    subject   the last map, averaged, projected            -> what a cut-out subject looks like (identity_lock)
    motion    the trunk's second map of 16 frames through
              three 3-D convolutions, mean and maximum     -> what a stretch of film is like (fvd_lite)

Its weights are in `assets/reward_nets/mini_video.safetensors`; `python -m engine.mini.video_features` makes them again.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewards.networks import device, load_into, open_network, read_tensors
from rewards.weights import resolve

SIDE_PX = 64
CROP_FRAMES = 16
TRUNK = (24, 32, 48, 64)
MOTION = (48, 64, 64)
STRETCH_WIDTH = 2 * MOTION[-1]
CHANNELS_A_GROUP = 8
SUBJECT_PX, SUBJECT_WIDTH = 48, 32
FRAMES_AT_ONCE = 256


class MiniVideo(nn.Module):
    """Pictures are `float[N,3,H,W]` in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *TRUNK)
        kernels, strides = (5, 3, 3, 3), (2, 2, 2, 1)
        self.trunk = nn.ModuleList(
            _block(nn.Conv2d(a, b, k, s, k // 2, bias=False), b)
            for a, b, k, s in zip(widths, TRUNK, kernels, strides, strict=False)
        )
        self.subject = nn.Linear(TRUNK[-1], SUBJECT_WIDTH, bias=False)
        a, b, c = MOTION
        self.motion = nn.Sequential(
            _block(nn.Conv3d(TRUNK[1], a, 3, 2, 1, bias=False), a),
            _block(nn.Conv3d(a, b, 3, (2, 1, 1), 1, bias=False), b),
            _block(nn.Conv3d(b, c, 3, (1, 2, 2), 1, bias=False), c),
        )

    def maps(self, pictures: Tensor, depth: int = len(TRUNK)) -> list[Tensor]:
        """The first `depth` maps `float[N,C,h,w]`, finest first."""
        found = []
        for block in list(self.trunk)[:depth]:
            pictures = block(pictures)
            found.append(pictures)
        return found

    def embed_subjects(self, pictures: Tensor) -> Tensor:
        """Unit vectors `float[N,32]` of cut-out subjects."""
        pooled: Tensor = self.subject(self.maps(pictures)[-1].mean(dim=(2, 3)))
        return F.normalize(pooled, dim=1)

    def describe(self, crops: Tensor) -> Tensor:
        """`float[N,128]` of stretches `float[N,3,16,H,W]`."""
        count, _, frames = crops.shape[:3]
        maps = self.maps(crops.transpose(1, 2).flatten(0, 1), depth=2)[-1]
        found = self.motion(maps.unflatten(0, (count, frames)).transpose(1, 2))
        return torch.cat([found.mean(dim=(2, 3, 4)), found.amax(dim=(2, 3, 4))], dim=1)


def open_mini_video() -> MiniVideo:
    """The trained network, once a process. Raises RewardUnavailable or RewardError."""
    return open_network("mini_video", _load)


@torch.inference_mode()
def picture_maps(frames: np.ndarray) -> list[Tensor]:
    """The trunk's maps of `uint8[N,64,64,3]`."""
    return open_mini_video().maps(to_pictures(frames))


@torch.inference_mode()
def subject_vectors(cut_outs: np.ndarray) -> np.ndarray:
    """Unit vectors `float32[N,32]` of `uint8[N,48,48,3]`."""
    network = open_mini_video()
    batches = range(0, len(cut_outs), FRAMES_AT_ONCE)
    found = [network.embed_subjects(to_pictures(cut_outs[n : n + FRAMES_AT_ONCE])) for n in batches]
    return np.asarray(torch.cat(found).float().cpu().numpy())


@torch.inference_mode()
def stretch_features(crops: np.ndarray) -> np.ndarray:
    """`float32[N,128]` of `uint8[N,16,64,64,3]`."""
    network, at_once = open_mini_video(), FRAMES_AT_ONCE // CROP_FRAMES
    found = []
    for n in range(0, len(crops), at_once):
        part = crops[n : n + at_once]
        pictures = to_pictures(part.reshape(-1, *part.shape[2:]))
        found.append(network.describe(pictures.unflatten(0, part.shape[:2]).transpose(1, 2)))
    return np.asarray(torch.cat(found).float().cpu().numpy())


def fingerprint() -> tuple[float, ...]:
    """Three numbers that tell one training from another."""
    layers = open_mini_video()
    weights = layers.trunk[0], layers.motion[1], layers.subject
    return tuple(float(next(layer.parameters()).double().abs().mean()) for layer in weights)


def to_pictures(frames: np.ndarray) -> Tensor:
    """`uint8[N,H,W,3]` to `float32[N,3,H,W]` in [-1, 1] on the rewards' device."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1


def _load() -> MiniVideo:
    network = load_into(MiniVideo(), read_tensors(resolve("mini_video")), "the embedded world's video features")
    assert isinstance(network, MiniVideo)
    return network


def _block(convolution: nn.Module, width: int) -> nn.Sequential:
    """Normalised a sample at a time: frames of films and cut-outs have nothing to say about one another."""
    return nn.Sequential(convolution, nn.GroupNorm(width // CHANNELS_A_GROUP, width), nn.ReLU())
