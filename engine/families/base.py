"""Base class of the families that read diffusers folders."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.files.single_files import is_single_file, read_single_file
from engine.families.loading import (
    INDEX_FILE,
    NETWORK,
    Classes,
    check_parts,
    find_file,
    find_folder,
    move,
    on_device,
    read_json,
    read_network,
    read_tokenizer,
    text_fingerprint,
)
from engine.families.vae import decode_rows, encode_rows, from_pixels, to_pixels
from engine.family_interface import Conditioning, FamilyOptions, FamilySpec, ModelFamily
from engine.hardware.weight_storage import offload_blocks, store_weights
from engine.hub.selection import CONFIG, Needs
from engine.sampling.scheduler_settings import check_settings
from engine.seeds import unit_noise

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

LIBRARIES = ("diffusers", "transformers")
DENOISERS = ("transformer", "transformer_2")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")  # offloaded with `FamilyOptions.offload_text`
NO_PARTS: Mapping[str, str] = {}
VARIANTS = {"float16": "fp16", "bfloat16": "bf16"}
"""The names of repositories for weights in half precision, by the data type that the model computes in."""


class DiffusersFamily:
    """A model in a diffusers folder, opened part by part. Families add `encode` and `predict`.

    `parts` maps each subfolder to its class, or to its allowed classes. `optional_parts` are further folders, which
    only some models of the family have. `load` and the methods for latents fit a causal VAE whose latents are only
    scaled; families override the parts in which they differ.
    """

    spec: ClassVar[FamilySpec]
    parts: ClassVar[Mapping[str, Classes]]
    optional_parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: str, options: FamilyOptions | None = None) -> None:
        self.source = source
        self.options = options or FamilyOptions()

    def load(self, device: str, dtype: "torch.dtype") -> None:
        """See `ModelFamily`. Raises FamilyError for a folder that this family cannot use."""
        self.open_folder(device, dtype)
        self.check_folder()
        self.network = self.read_denoiser()
        self.check_network()
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.tokenizer = read_tokenizer(self.folder)
        if "text_encoder_2" in self.parts:
            self.text_encoder_2 = self.read_text_encoder("text_encoder_2")
            self.tokenizer_2 = read_tokenizer(self.folder, "tokenizer_2")

    def check_folder(self) -> None:
        """Check the configuration files before networks are read, and complete `scheduler_config`."""

    def read_denoiser(self) -> Any:
        """Return the denoising network."""
        return self.read(self.spec.network_part)

    def check_network(self) -> None:
        """Check the configuration of `network`, or change its layers."""

    def open_folder(self, device: str, dtype: "torch.dtype") -> None:
        """Find and check the folder; set `folder`, `device`, `dtype`, `scheduler_config` and `text_key`."""
        needs = folder_needs(type(self), self.options.parts, preferred_variant(dtype))
        self.folder = find_folder(self.source, needs)
        check_parts(self.folder, {part: name for part, name in self.parts.items() if part not in self.options.parts})
        self.device, self.dtype = device, dtype
        own = read_json(self.folder / "scheduler" / "scheduler_config.json")
        check_settings(own, self.options.scheduler, self.spec.prediction)
        self.scheduler_config: Mapping[str, Any] = {**own, **self.options.scheduler}
        self.text_key = f"{self.spec.key} {text_fingerprint(self.folder)} {dtype}"

    def read(self, part: str, dtype: "torch.dtype | None" = None, device: str | None = None) -> Any:
        """Return a network of the folder, with the index's class, or from the part's own source."""
        if part in DENOISERS:
            return self.stored(self._read(part, dtype, "cpu" if self.options.offload_blocks else device))
        return self._read(part, dtype, device)

    def stored(self, network: Any) -> Any:
        """Return the denoising network, stored as the options say."""
        store_weights(network, self.spec.block_classes, self.options.weights, self.dtype)
        if self.options.offload_blocks:
            offload_blocks(network, self.device)
        return network

    def _read(self, part: str, dtype: "torch.dtype | None", device: str | None) -> Any:
        if part in self.options.parts:
            return self._read_elsewhere(part, self.options.parts[part], device or self.device, dtype or self.dtype)
        library, name = read_json(self.folder / "model_index.json")[part]
        if library not in LIBRARIES:
            raise FamilyError(f"'{self.folder}': {part} is of the library '{library}', but only {LIBRARIES} are used.")
        model_class = getattr(importlib.import_module(library), name)
        return read_network(model_class, self.folder, part, device or self.device, dtype or self.dtype)

    def _read_elsewhere(self, part: str, source: str, device: str, dtype: "torch.dtype") -> Any:
        """Return a network from its own folder, such as the output of full fine-tuning, or from a single file.

        Raises FamilyError.
        """
        import diffusers

        if is_single_file(source):
            return move(read_single_file(find_file(source), self.folder, part, dtype), device, source)
        folder = self.find_network(source)
        name = str(read_json(folder / "config.json").get("_class_name"))
        expected = self.parts.get(part) or self.parts[self.spec.network_part]
        if name not in ((expected,) if isinstance(expected, str) else expected):
            raise FamilyError(
                f"'{folder}' holds a {name}, but the {part} of this family is {expected}: name another folder."
            )
        return read_network(getattr(diffusers, name), folder, ".", device, dtype)

    def find_network(self, source: str) -> Path:
        """Return the folder of one network; see `find_folder`."""
        return find_folder(source, replace(NETWORK, variant=preferred_variant(self.dtype)))

    def encode_negative(self: ModelFamily, prompts: Sequence[str]) -> Conditioning:
        """See `ModelFamily`."""
        return self.encode(prompts)

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """Decode denoised latents, see `ModelFamily.decode`."""
        import torch

        with torch.no_grad():
            return to_pixels(self.decode_pixels(latents), latents)

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        """Decode one clip after another, so that memory stays that of one clip. See `ModelFamily`."""
        return decode_rows(self.vae, self.unscale(latents))

    def unscale(self, latents: "Tensor") -> "Tensor":
        """Return the VAE's own latents of the network's latents."""
        return latents / self.vae.config.scaling_factor

    def scale(self, latents: "Tensor") -> "Tensor":
        """Return the network's latents of the VAE's own latents."""
        return latents * self.vae.config.scaling_factor

    def read_text_encoder(self, part: str = "text_encoder") -> Any:
        """Return a text encoder on the device, or on the CPU with `FamilyOptions.offload_text`."""
        return self.read(part, device="cpu" if self.options.offload_text else self.device)

    @contextmanager
    def text_encoders_on_device(self) -> Iterator[None]:
        """See `ModelFamily`."""
        with ExitStack() as present:
            for part in TEXT_ENCODERS:
                if hasattr(self, part):
                    present.enter_context(on_device(getattr(self, part), self.device))
            yield

    def read_vae(self, dtype: "torch.dtype | None" = None) -> Any:
        vae = self.read("vae", dtype)
        if self.options.tile_vae:
            vae.enable_tiling()
        return vae

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        """See `ModelFamily`."""
        return self.encode_video(from_pixels(frames, self.device, self.vae.dtype))

    def encode_video(self, pixels: "Tensor") -> "Tensor":
        """Encode `pixels[B,3,T,H,W]` in -1..1 as the network's latents."""
        return self.scale(encode_rows(self.vae, pixels))

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return each picture encoded on its own: `pictures[B,C,N,h,w]` at the frames `picture_frames[B,N]`."""
        import torch

        singles = self.encode_frames(pictures.reshape(-1, 1, *pictures.shape[2:]))
        latents = singles[:, :, 0].unflatten(0, pictures.shape[:2]).transpose(1, 2)
        return {
            "pictures": latents,
            "picture_frames": torch.tensor(places, device=latents.device).expand(len(pictures), -1),
        }

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        """See `ModelFamily`."""
        stride, size = self.strides
        config = self.network.config
        multiple = size * config.patch_size
        return self.noise(request, generators, channels=config.in_channels, strides=(stride, size), multiple=multiple)

    @property
    def strides(self) -> tuple[int, int]:
        """The number of frames and of px that a latent covers."""
        return self.vae.temporal_compression_ratio, self.vae.spatial_compression_ratio

    def noise(
        self,
        request: "GenerationRequest",
        generators: "Sequence[torch.Generator]",
        *,
        channels: int,
        strides: tuple[int, int],
        multiple: int,
    ) -> "Tensor":
        """Return unit-normal `float32[B,C,t,h,w]` for a VAE with `strides` (frames, px).

        The latents begin with `spec.lead_latents`. Raises FamilyError when a side of the clip is not a multiple of
        `multiple` px.
        """
        stride, size = strides
        if (request.num_frames - 1) % stride or request.width % multiple or request.height % multiple:
            rule = f"{stride}k+1 frames" if stride > 1 else "any number of frames"
            raise FamilyError(
                f"This model needs {rule} and sides that are multiples of {multiple} px, but the request has "
                f"{request.num_frames} frames at {request.width}x{request.height}."
            )
        frames = self.spec.lead_latents + (request.num_frames - 1) // stride + 1
        shape = (channels, frames, request.height // size, request.width // size)
        return unit_noise(shape, generators).to(self.device)


def preferred_variant(dtype: object) -> str | None:
    """Return the variant of weights for a data type, by its name or torch's: "fp16" for float16."""
    return VARIANTS.get(str(dtype).removeprefix("torch."))


def folder_needs(
    family: type[DiffusersFamily], overridden: Mapping[str, str] = NO_PARTS, variant: str | None = None
) -> Needs:
    """Return the files that a family's model folder must have.

    `overridden` are sources of parts. Such parts are left out, but for the configuration of those in a single file.
    """
    files = {part for part, source in overridden.items() if is_single_file(source)}
    configs = (f"{part}/{CONFIG}" for part in overridden if part in files and part in (*DENOISERS, *family.parts))
    return Needs(
        parts=tuple(part for part in (*family.parts, "tokenizer") if part not in overridden),
        optional=family.optional_parts,
        files=(INDEX_FILE, *configs),
        variant=variant,
    )
