"""What a model family is: data (`FamilySpec`) and five verbs (`ModelFamily`). Imports no torch.

Shape legend, here and everywhere: B batch, T frames, C H W; t h w the same in latent space; L text tokens, D width.
Latents are `float[B,C,t,h,w]`. Guidance, schedules, SDE, LoRA, windows and keyframes are shared: never in a family.
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
class FamilySpec:
    """What is known of a family without loading it.

    A clip may have `frame_stride * k + frame_offset` frames (LTX 8k+1, Wan 4k+1; stride 1 and offset 0: any number),
    and its width and height must be multiples of `size_multiple` px (a preset may say otherwise for its model's VAE).
    `native_conditioning` says what `predict` takes besides the prompt: "frames" (a noise level for each latent frame,
    0 = given), "pictures" (clean single pictures at any frames), "ends" (such pictures at a clip's first and last
    frame, without which it makes nothing). With `embedded_guidance` the network is told the guidance and runs once,
    instead of once with and once without the prompt. `text_tokens` is how many tokens of a prompt the text encoder
    reads at most (None: no limit is known). `has_free_noise`: it makes clips of any length where
    `FamilyOptions.context_frames` says how many frames it sees at once. `block_classes` of the network are gathered one
    at a time where weights lie in shards: each small against the whole, together most of it. `network_part` is what
    the diffusers pipelines call the network; `lora_loader` is diffusers' class that converts LoRA files of other forms.
    """

    key: str
    title: str
    prediction: Prediction
    frame_stride: int
    frame_offset: int
    size_multiple: int
    lora_targets: tuple[str, ...]
    network_part: str = "transformer"
    lora_loader: str = ""
    block_classes: tuple[str, ...] = ()
    native_conditioning: tuple[str, ...] = ()
    text_tokens: int | None = None
    embedded_guidance: bool = False
    has_free_noise: bool = False
    licence: str = ""
    source: str = ""

    @property
    def takes(self) -> str:
        """What a clip can be given besides its prompt, in a few words; "" for nothing."""
        told = {"frames": "frames", "pictures": "pictures at any frames", "ends": "a first and a last picture"}
        return ", ".join(told[one] for one in self.native_conditioning)

    def nearest_frames(self, num_frames: int) -> int:
        """The allowed number of frames nearest to `num_frames`, at least one stride long."""
        k = max(1, round((num_frames - self.frame_offset) / self.frame_stride))
        return k * self.frame_stride + self.frame_offset

    def allows_frames(self, num_frames: int) -> bool:
        return num_frames > self.frame_offset and (num_frames - self.frame_offset) % self.frame_stride == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyOptions:
    """How a model is opened, where that is not the folder's own affair.

    `parts` maps a part to a source of its own (AnimateDiff's motion adapter); `scheduler` is laid over the folder's
    `scheduler_config.json`. The text encoder may wait on the CPU between prompts, and the VAE may work tile by tile:
    both save memory on the device, the one for time, the other for faint seams that rewards can see. With
    `context_frames` a network that can sees longer clips in windows of so many frames (AnimateDiff, by FreeNoise).
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    offload_text: bool = False
    tile_vae: bool = False
    context_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """Encoded prompts, one row each: `embeds[B,L,D]`, `mask[B,L]` (1 = a real token), and what the family adds.

    `fps` is the frame rate that the network is told (1/s), the same for all rows: `encode` does not know it, the caller
    adds it, and a family whose network needs it insists. So with `guidance`, for families that embed it: the sampler
    adds it. Tensors in `extras` have a row per prompt: what `encode` adds, and what `encode_pictures` says of pictures
    that are given.
    """

    embeds: "Tensor"
    mask: "Tensor | None" = None
    extras: Mapping[str, Any] | None = None
    fps: float | None = None
    guidance: float | None = None

    def rows(self, selection: "slice | Tensor | Sequence[int]") -> "Conditioning":
        """The chosen rows, in that order."""
        return _map_tensors(lambda tensors: tensors[0][selection], self)

    def to(self, device: Any) -> "Conditioning":
        """The same on a device."""
        return _map_tensors(lambda tensors: tensors[0].to(device), self)

    def joined(self, other: "Conditioning") -> "Conditioning":
        """The rows of both, this one's first; `fps` and what is no tensor come from this one."""
        import torch

        return _map_tensors(lambda tensors: torch.cat(tensors), self, other)


def _map_tensors(apply: "Callable[[list[Tensor]], Tensor]", *parts: Conditioning) -> Conditioning:
    """`apply` to each tensor of the parts, field by field; the first part says what else there is."""
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
    """What the sampler needs of a family: what it predicts, and the prediction."""

    @property
    def spec(self) -> FamilySpec: ...

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """See `ModelFamily.predict`."""
        ...


class ModelFamily(Protocol):
    """The five verbs, and what they work with. An instance is one model: a family plus weights at `source`."""

    spec: ClassVar[FamilySpec]

    def __init__(self, source: str, options: FamilyOptions | None = None) -> None:
        """`source` is a diffusers folder or a hub id; nothing is read before `load`."""
        ...

    def load(self, device: str, dtype: "torch.dtype") -> None:
        """Read the weights. Raises FamilyError in one sentence when they are missing, damaged or of another family."""
        ...

    def encode(self, prompts: Sequence[str]) -> Conditioning: ...

    def reading(self) -> "AbstractContextManager[None]":
        """Keeps the text encoders on the device meanwhile, where they wait elsewhere: around several calls of `encode`.

        They then come and go once for all of them; what is encoded is the same.
        """
        ...

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        """Unit-normal noise `float32[B,C,t,h,w]`, one row per generator."""
        ...

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """The network's output `float32[B,C,t,h,w]` (velocity or noise, see `spec.prediction`) at noise level `sigma`.

        `sigma[B]` is one level a clip; families with native frame conditioning also take `sigma[B,t]`, one a latent
        frame (0 = that frame is given). Gradients flow.
        """
        ...

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """Finished latents to `uint8[B,T,H,W,3]`."""
        ...

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        """`uint8[B,T,H,W,3]` to the latents `float32[B,C,t,h,w]` that `decode` undoes (the posterior's mean)."""
        ...

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """What `predict` is to find in `Conditioning.extras` so that pictures `uint8[B,N,H,W,3]` come out at the frames
        `places` of a clip of `num_frames`: for families whose `native_conditioning` has "pictures" or "ends".
        """
        ...

    @property
    def text_key(self) -> str:
        """Names what `encode` depends on besides the prompt (files, type): the same key, the same embeddings."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The model's own `scheduler_config.json`: what `sampling.schedule.sigmas_for` follows."""
        ...

    @property
    def dtype(self) -> "torch.dtype":
        """What the model was loaded in."""
        ...

    @property
    def network(self) -> "nn.Module":
        """The denoising network: what training and LoRA work on."""
        ...
