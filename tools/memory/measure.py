"""The peaks and FLOPs of a preset's real networks, phase by phase, through the family's own code.

Peaks are in bytes above the weights. Kernels of a GPU may need other workspaces than those of the CPU, whose fake
kernels are counted here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.config.schema import ModelPreset
from engine.families.lora import loaded_adapters, unload_adapter
from engine.families.registry import family_class, local_source
from engine.family_interface import Conditioning, FamilyOptions
from engine.hardware.weight_storage import eight_bit_layers
from engine.request import GenerationRequest
from engine.seeds import generator_for
from engine.training.gradient_checkpointing import set_block_checkpointing
from engine.training.network_files import compute_dtype, set_compute_dtype
from engine.training.weights import ADAPTER, setup_lora, trainable
from tools.memory.fake import LiveBytes, fake_weights, flop_of
from tools.memory.folders import write_folder

GIB = 2**30
RANK = 16
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "image_encoder")
FPS, GUIDANCE = 16.0, 6.0  # of no influence on the size of any tensor
WORDS = "w2 w3 w4"


def patch_of(config: Any) -> int:
    """Return the side of a network's patch in latents; 1 for a U-Net."""
    size = config.get("patch_size", 1)
    return int(size if isinstance(size, int) else size[-1])


def frames_of_patch(config: Any) -> int:
    """Return the number of latent frames in a network's patch."""
    size = config.get("patch_size", 1)
    return int((config.get("patch_size_t") or 1) if isinstance(size, int) else size[0])


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch of clips: number, frames, width and height in px."""

    clips: int
    num_frames: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.num_frames * self.width * self.height


class Subject:
    """A preset's model of fake tensors, opened by its family."""

    def __init__(self, preset: ModelPreset, family: Any, mode: Any, live: LiveBytes) -> None:
        self.preset, self.family, self.mode, self.live = preset, family, mode, live
        self.words: Conditioning | None = None
        self.is_lora = False
        if hasattr(family.network, "high_noise"):  # one expert is passed at a time, and both are alike
            self.whole, self.family.network = family.network, family.network.high_noise
        else:
            self.whole = family.network

    def peak_of(self, call: Callable[[], Any]) -> float:
        """Return the bytes that a call needs above what was there before it."""
        with self.mode, self.live:
            before = self.live.restart()
            with suppress_copy_to_numpy():
                call()
            peak = self.live.peak - before
            self.live.restart()
        return float(peak)

    def sizes(self) -> dict[str, Any]:
        """Return the sizes of the networks: parameters, and GiB of their weights."""
        family, network = self.family, self.whole
        texts = [getattr(family, name) for name in TEXT_ENCODERS if getattr(family, name, None) is not None]
        known = {id(part) for part in (network, family.network, family.vae, *texts)}
        others = [part for part in vars(family).values() if isinstance(part, nn.Module) and id(part) not in known]
        blocks = [part for part in network.modules() if type(part).__name__ in family.spec.block_classes]
        with self.mode, self.live, torch.no_grad():
            latents, _, _ = self.inputs(Shape(1, self.preset.num_frames, self.preset.width, self.preset.height))
        own = latents.shape[2] - family.spec.lead_latents - family.spec.frame_offset
        strides = (
            (self.preset.num_frames - family.spec.frame_offset) // max(1, own) * frames_of_patch(family.network.config),
            self.preset.width // latents.shape[4] * patch_of(family.network.config),
        )
        return {
            "params": float(sum(parameter.numel() for parameter in network.parameters())),
            "block_params": float(max((sum(p.numel() for p in block.parameters()) for block in blocks), default=0)),
            "network_gib": _bytes([network]) / GIB,
            "float8_gib": float8_bytes(network, family.spec.block_classes) / GIB,
            "offloaded_gib": offloaded_bytes(self.family.network) / GIB,
            "vae_gib": _bytes([family.vae]) / GIB,
            "text_gib": _bytes(texts) / GIB,
            "other_gib": _bytes(others) / GIB,
            "vae_float32": family.vae.dtype == torch.float32,
            "dtype": self.preset.dtype,
            "token": strides,
        }

    def deviation(self, foretold: float, peak: float) -> float:
        """Return the relative error of a peak, the weights of the network and the VAE included."""
        weights = _bytes([self.whole, self.family.vae])
        return (foretold - peak) / (weights + peak)

    def lora_params(self) -> float:
        """Return the number of weights of an adapter for each unit of its rank, over all experts."""
        experts = 2 if self.whole is not self.family.network else 1
        return experts * sum(parameter.numel() for _, parameter in trainable(self.family.network)) / RANK

    def encode(self) -> None:
        self.words = self.family.encode([WORDS])

    def inputs(self, shape: Shape) -> tuple[Tensor, Tensor, Conditioning]:
        """Return latents, noise levels and conditioning of a batch."""
        if self.words is None:
            self.encode()
        assert self.words is not None
        request = GenerationRequest(
            prompt=WORDS, num_frames=shape.num_frames, width=shape.width, height=shape.height, fps=FPS
        )
        latents = self.family.init_latents(request, [generator_for(seed) for seed in range(shape.clips)])
        words = replace(self.words.rows([0] * shape.clips), fps=FPS, guidance=GUIDANCE)
        spec = self.family.spec
        if spec.requires_image:
            places = (0, shape.num_frames - 1) if spec.requires_last_image else (0,)
            pictures = np.zeros((1, len(places), shape.height, shape.width, 3), np.uint8)
            given = self.family.encode_pictures(pictures, places, shape.num_frames)
            rows = {name: tensor.expand(shape.clips, *tensor.shape[1:]) for name, tensor in given.items()}
            words = replace(words, extras={**(words.extras or {}), **rows})
        return latents, torch.full((shape.clips,), 0.5), words

    def forward(self, shape: Shape) -> float:
        """Return the peak of a prediction without gradients."""
        return self._predict(shape, backward=False)

    def update(self, shape: Shape, *, checkpointed: bool, rank: int = RANK) -> float:
        """Return the peak of a prediction and its backward pass, without the gradients of weights."""
        with self.live:
            if rank != getattr(self, "rank", None):
                network = self.family.network
                with self.mode:
                    if ADAPTER in loaded_adapters(network):
                        unload_adapter(network, ADAPTER)
                    setup_lora(network, self.family.spec.lora_targets, rank=rank, alpha=None, seed=0)
                set_compute_dtype(network, None if rank else compute_dtype(self.family.dtype))
                self.rank = rank
            set_block_checkpointing(self.family.network, self.family.spec.block_classes, on=checkpointed)
        gradients = sum(parameter.nbytes for _, parameter in trainable(self.family.network))
        return self._predict(shape, backward=True) - gradients

    def _predict(self, shape: Shape, *, backward: bool) -> float:
        with self.mode, self.live, torch.no_grad():
            latents, levels, words = self.inputs(shape)
            if hasattr(self.family, "empty_control"):
                self.family._control_without_pictures(latents)

        def call() -> None:
            with torch.set_grad_enabled(backward):
                velocity = self.family.predict(latents, levels, words)
                if backward:
                    velocity.pow(2).mean().backward()

        peak = self.peak_of(call)
        self.family.network.zero_grad(set_to_none=True)
        return peak

    def decode(self, shape: Shape, *, tiled: bool = False) -> float:
        """Return the peak of decoding one clip."""
        (self.family.vae.enable_tiling if tiled else self.family.vae.disable_tiling)()
        with self.mode, self.live, torch.no_grad():
            latents, _, _ = self.inputs(replace(shape, clips=1))
        return self.peak_of(lambda: self.family.decode(latents))

    def flop(self, shape: Shape) -> float:
        """Return the FLOPs of a prediction for one clip."""
        with self.mode, self.live, torch.no_grad():
            latents, levels, words = self.inputs(replace(shape, clips=1))
            return flop_of(lambda: self.family.predict(latents, levels, words))

    def decode_flop(self, shape: Shape) -> float:
        """Return the FLOPs of decoding one clip."""
        with self.mode, self.live, torch.no_grad():
            latents, _, _ = self.inputs(replace(shape, clips=1))

            def decoding() -> None:
                with suppress_copy_to_numpy():
                    self.family.decode(latents)

            return flop_of(decoding)


@contextmanager
def suppress_copy_to_numpy() -> Iterator[None]:
    """Stop at the end of `decode`, which copies the pixels to numpy: a fake tensor has none."""
    with suppress(_NoNumpy):
        try:
            yield
        except RuntimeError as error:
            raise (_NoNumpy() if ".numpy() is not supported" in str(error) else error) from None


def float8_bytes(network: Any, classes: Sequence[str]) -> int:
    """Return the bytes of a network whose blocks are stored in float8."""
    weights = [weight for layer in eight_bit_layers(network, classes) for weight in layer.parameters()]
    return _bytes([network]) - sum(weight.nbytes - weight.numel() for weight in weights)


def offloaded_bytes(network: Any) -> int:
    """Return the bytes of a network that are on the device at once while blocks are loaded one ahead."""
    lists = [child for child in network.children() if isinstance(child, nn.ModuleList | nn.Sequential)]
    blocks = [block for child in lists for block in child]
    largest = max((_bytes([block]) for block in blocks), default=0)
    return _bytes([network]) - _bytes(blocks) + 2 * largest


def _bytes(networks: Iterable[Any]) -> int:
    return sum(parameter.nbytes for network in networks for parameter in network.parameters())


class _NoNumpy(Exception):
    pass


@contextmanager
def opened(key: str) -> Iterator[Subject]:
    """Open a preset's model without weights."""
    with TemporaryDirectory() as folder, fake_weights() as mode:
        preset = write_folder(key, Path(folder))
        options = FamilyOptions(
            parts=preset.parts, scheduler=preset.scheduler, context_frames=preset.context_frames, offload_text=False
        )
        family = family_class(preset.family)(local_source(preset), options)
        live = LiveBytes()
        with live:
            family.load("cpu", getattr(torch, preset.dtype))
        yield Subject(preset, family, mode, live)
