"""The interface of a model family: data (`FamilySpec`) and methods (`ModelFamily`).

Imports no torch.

Shape legend, here and everywhere: B batch, T frames, C H W; t h w the same in latent space; L text tokens, D width.
Latents are `float[B,C,t,h,w]`. Guidance, schedules, SDE, LoRA, windows and keyframes are shared by all families.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np
    import torch
    from torch import Tensor, nn

    from engine.request import GenerationRequest

Prediction = Literal["flow", "epsilon", "v_prediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNames:
    """Names of a network's layers in other programs; `*` in a name stands for the number of a block.

    - `native` maps a layer's name in diffusers to its name in the model's own code.
    - `fused` maps a layer of the model's own code to the diffusers layers that it holds one below the other, each with
      its rows as a multiple of the layer's input size.
    - `formats` are the formats other than diffusers' that adapters are exported in; `otherwise` says why not all, and
      `limits` which layers have no name there.
    """

    native: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    formats: tuple[str, ...] = ("comfyui", "kohya")
    otherwise: str = ""
    limits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """Properties of a family that are available without loading a model.

    A clip may have `frame_stride * k + frame_offset` frames (LTX 8k+1, Wan 4k+1; stride 1 and offset 0: any number).
    Its width and height must be multiples of `size_multiple` px, unless the preset overrides this for its model's VAE.

    - `native_conditioning` lists the inputs of `predict` in addition to the prompt: "frame_sigmas" (a noise level for
      each latent frame, 0 = given), "image_keyframes" (clean single pictures at any frames), "first_image_optional" (a
      picture as the first latent frame), "first_image_required" (a picture at the first frame), "first_last_required"
      (pictures at a clip's first and last frame).
    - `embedded_guidance`: the network takes the guidance as an input and runs once, instead of once with and once
      without the prompt.
    - `text_tokens` is the maximum number of prompt tokens that the text encoder reads (None: no known limit).
    - `passes_by_prompt`: the network has no mask for padding, so a batch takes a pass for each length of prompt.
    - `has_free_noise`: with `FamilyOptions.context_frames` set, the family generates clips of any length.
    - `has_plain_negatives`: `encode_negative` differs from `encode`, which adds an instruction to prompts.
    - `lead_latents` is the number of latent frames before those of the clip: they are denoised and not decoded.
    - `block_classes` are the modules gathered one at a time when weights are sharded: each is small compared with the
      network, and together they are most of it.
    - `network_part` is the network's name in diffusers' pipelines.
    - `layer_names` are the names of the network's layers in other programs.
    """

    key: str
    title: str
    prediction: Prediction
    frame_stride: int
    frame_offset: int
    size_multiple: int
    lora_targets: tuple[str, ...]
    network_part: str = "transformer"
    layer_names: LayerNames = LayerNames()
    block_classes: tuple[str, ...] = ()
    native_conditioning: tuple[str, ...] = ()
    text_tokens: int | None = None
    embedded_guidance: bool = False
    passes_by_prompt: bool = False
    has_free_noise: bool = False
    has_plain_negatives: bool = False
    lead_latents: int = 0
    licence: str = ""
    source: str = ""

    @property
    def conditioning_summary(self) -> str:
        """The inputs that a clip can have in addition to its prompt, in a few words; "" for none."""
        names = {
            "frame_sigmas": "frames",
            "image_keyframes": "pictures at any frames",
            "first_image_optional": "a first picture",
            "first_image_required": "a first picture (required)",
            "first_last_required": "a first and a last picture (required)",
        }
        return ", ".join(names[kind] for kind in self.native_conditioning)

    @property
    def keeps_first(self) -> bool:
        """True when a given first picture is the first latent frame itself, which is then not denoised."""
        return bool({"frame_sigmas", "first_image_optional"} & set(self.native_conditioning))

    @property
    def takes_image(self) -> bool:
        return bool(self.native_conditioning)

    @property
    def takes_last_image(self) -> bool:
        return bool({"image_keyframes", "first_last_required"} & set(self.native_conditioning))

    @property
    def requires_image(self) -> bool:
        return bool({"first_image_required", "first_last_required"} & set(self.native_conditioning))

    @property
    def requires_last_image(self) -> bool:
        return "first_last_required" in self.native_conditioning

    def nearest_frames(self, num_frames: int) -> int:
        """Return the allowed number of frames nearest to `num_frames`, at least one stride long."""
        k = max(1, round((num_frames - self.frame_offset) / self.frame_stride))
        return k * self.frame_stride + self.frame_offset

    def allows_frames(self, num_frames: int) -> bool:
        return num_frames > self.frame_offset and (num_frames - self.frame_offset) % self.frame_stride == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyOptions:
    """Options for opening a model that its folder does not determine.

    `parts` maps a part to its own source (AnimateDiff's motion adapter); `scheduler` overrides keys of the folder's
    `scheduler_config.json`. `offload_text` keeps the text encoder on the CPU between prompts, which saves device memory
    and costs time. `tile_vae` runs the VAE tile by tile, which saves device memory and causes faint seams that rewards
    can detect. `weights` stores those of the network's blocks in 8 bits, and `offload_blocks` keeps the blocks on the
    CPU between uses (`engine.hardware.weight_storage`). With `context_frames`, a network that supports it processes
    longer clips in windows of this many frames (AnimateDiff, by FreeNoise).
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    offload_text: bool = False
    tile_vae: bool = False
    weights: Literal["full", "float8", "int8"] = "full"
    offload_blocks: bool = False
    context_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """Encoded prompts: `embeds[B,L,D]`, `mask[B,L]` (1 = a real token) and the family's own tensors.

    `fps` is the network's frame rate input (1/s), the same for all rows. The caller of `encode` sets it, and a family
    whose network needs it asserts that it is set. The sampler sets `guidance`, for families that embed it. Tensors in
    `extras` have one row per prompt: additional outputs of `encode`, and the outputs of `encode_pictures` for given
    pictures. `extras["first"]` `[B,C,h,w]` are the clean latents of a given first frame.
    """

    embeds: "Tensor"
    mask: "Tensor | None" = None
    extras: Mapping[str, Any] | None = None
    fps: float | None = None
    guidance: float | None = None

    @property
    def first_frame(self) -> "Tensor | None":
        """The clean latents `[B,C,h,w]` of the given first frame; None when all frames are generated."""
        return None if self.extras is None else self.extras.get("first")

    def free(self, latents: "Tensor") -> "Tensor":
        """Return the latent frames of `[B,C,t,h,w]` that are not given.

        Losses and log-probabilities use these.
        """
        return latents if self.first_frame is None else latents[:, :, 1:]

    def whole(self, free: "Tensor") -> "Tensor":
        """Return the latents of whole clips, with the given first frame before the `free` ones."""
        if self.first_frame is None:
            return free
        import torch

        return torch.cat([self.first_frame[:, :, None].to(free), free], dim=2)

    def rows(self, selection: "slice | Tensor | Sequence[int]") -> "Conditioning":
        """Return the selected rows, in that order."""
        return _map_tensors(lambda tensors: tensors[0][selection], self)

    def to(self, device: Any) -> "Conditioning":
        """Return a copy with all tensors on `device`."""
        return _map_tensors(lambda tensors: tensors[0].to(device), self)

    def concat(self, *others: "Conditioning") -> "Conditioning":
        """Return the rows of all, this one's first; `fps` and values that are not tensors come from this one."""
        import torch

        return _map_tensors(lambda tensors: torch.cat(tensors), self, *others)


def _map_tensors(apply: "Callable[[list[Tensor]], Tensor]", *parts: Conditioning) -> Conditioning:
    """Apply `apply` to the parts' tensors, field by field; all other values come from the first part."""
    first = parts[0]
    extras = None
    if first.extras is not None:
        rows = {key: [part.extras[key] for part in parts if part.extras] for key in first.extras}
        extras = {key: apply(values) if hasattr(values[0], "shape") else values[0] for key, values in rows.items()}
    return replace(
        first,
        embeds=apply([part.embeds for part in parts]),
        mask=None if first.mask is None else apply([part.mask for part in parts if part.mask is not None]),
        extras=extras,
    )


class Predictor(Protocol):
    """The part of a family that the sampler uses: the type of its prediction, and the prediction."""

    @property
    def spec(self) -> FamilySpec: ...

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """See `ModelFamily.predict`."""
        ...


class ModelFamily(Protocol):
    """A model: a family plus the weights at `source`. `engine.families.base` implements most of it."""

    spec: ClassVar[FamilySpec]

    def __init__(self, source: str, options: FamilyOptions | None = None) -> None:
        """`source` is a diffusers folder or a hub id; nothing is read before `load`."""
        ...

    def load(self, device: str, dtype: "torch.dtype") -> None:
        """Read the weights.

        Raises FamilyError in one sentence when they are missing, damaged or of another family.
        """
        ...

    def encode(self, prompts: Sequence[str]) -> Conditioning: ...

    def encode_negative(self, prompts: Sequence[str]) -> Conditioning:
        """Encode negative prompts: as `encode` does, unless `spec.has_plain_negatives`."""
        ...

    def text_encoders_on_device(self) -> "AbstractContextManager[None]":
        """Keep offloaded text encoders on the device inside the block, for several calls of `encode`.

        They are then moved once instead of once per call; the encodings are the same.
        """
        ...

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        """Return unit-normal noise `float32[B,C,t,h,w]`, one row per generator."""
        ...

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Return the network's output `float32[B,C,t,h,w]` (see `spec.prediction`) at noise level `sigma`.

        `sigma[B]` is one level a clip; families with native frame conditioning also take `sigma[B,t]`, one a latent
        frame (0 = that frame is given). Gradients flow.
        """
        ...

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """Decode denoised latents to `uint8[B,T,H,W,3]`."""
        ...

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        """Decode denoised latents to `float[B,3,T,H,W]`, about -1..1. Gradients flow."""
        ...

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        """Encode `uint8[B,T,H,W,3]` as latents `float32[B,C,t,h,w]`, the posterior's mean."""
        ...

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return the `Conditioning.extras` for pictures `uint8[B,N,H,W,3]` at the frames `places`.

        The clip has `num_frames` frames. For families whose `native_conditioning` has "image_keyframes",
        "first_image_required" or "first_last_required".
        """
        ...

    @property
    def text_key(self) -> str:
        """Key of all inputs of `encode` except the prompt (files, dtype): equal keys, equal embeddings."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The model's own `scheduler_config.json`, the input of `engine.sampling.schedules.sigmas_for`."""
        ...

    @property
    def dtype(self) -> "torch.dtype":
        """The dtype that the model was loaded in."""
        ...

    @property
    def network(self) -> "nn.Module":
        """The denoising network, to which training and LoRA apply."""
        ...
