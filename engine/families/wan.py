"""Wan 2.1 and 2.2: text to video (`wan`), between two pictures (`wan_flf`), around pictures at any frames (`wan_vace`).

Causal VAE, four frames to a latent after the first, so clips have 4k+1 frames; the network predicts a flow's velocity.
Wan 2.2's large models are two experts, one above the noise level `boundary_ratio` and one below; its 5B model is told a
noise level for each token. The folders' UniPC scheduler says the levels; Dailies steps from one to the next by Euler.

wan_flf    the pictures' clip, grey between them, is encoded whole and joined to the latents as further channels, with a
           mask of what is given; Wan 2.1's network also sees both pictures through CLIP.
wan_vace   the same clip goes through a network beside the first, with a mask of its own; no picture is a clip too.

Sources: Wan team, Alibaba (arXiv:2503.20314); VACE (arXiv:2503.07598); through diffusers' Wan classes.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.loading import (
    Classes,
    DiffusersFamily,
    from_pixels,
    on_device,
    read_image_processor,
    read_json,
    read_tokenizer,
    to_pixels,
)
from engine.families.lora_files import EXPERTS
from engine.families.overflow import finite_latents
from engine.model_spec import Conditioning, FamilySpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 512  # text tokens, as WanPipeline


class WanFamily(DiffusersFamily):
    """A Wan model: `source` is a diffusers folder or hub id; `load` before anything else."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="wan",
        title="Wan",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        lora_loader="WanLoraLoaderMixin",
        block_classes=("WanTransformerBlock", "WanVACETransformerBlock"),
        text_tokens=MAX_TOKENS,
        licence="Apache-2.0",
        source="arXiv:2503.20314",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "WanTransformer3DModel",
        "vae": "AutoencoderKLWan",
        "text_encoder": "UMT5EncoderModel",
        "scheduler": ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    }

    further: ClassVar[tuple[str, ...]] = ("transformer_2",)

    def load(self, device: str, dtype: "torch.dtype") -> None:
        """The VAE computes in float32 whatever `dtype` is, as its authors run it."""
        import torch

        self.open_folder(device, dtype, extra=self.further)
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}
        self.text_key += " ftfy"  # rows that were kept before prompts were cleaned by it are not found again
        index = read_json(self.folder / "model_index.json")
        self.level_per_token = bool(index.get("expand_timesteps"))
        self._check_kind()
        self.network = self.read("transformer")
        if index.get("boundary_ratio") is not None:
            self.network = _two_experts()(self.network, self.read("transformer_2"), index["boundary_ratio"] * 1000)
        self.vae = self.read_vae(torch.float32)
        self.text_encoder = self.read_text_encoder()
        self.tokenizer = read_tokenizer(self.folder)

    def _check_kind(self) -> None:
        """Before weights are read. Raises FamilyError for a network that takes other channels than the family gives."""
        network, vae = (read_json(self.folder / part / "config.json") for part in ("transformer", "vae"))
        taken, given = network.get("in_channels", 16), vae.get("z_dim", 16) + self._further_channels(vae)
        if taken != given:
            raise FamilyError(
                f"'{self.folder}' is a Wan model of another kind: its network takes {taken} channels, that of "
                f"{self.spec.title} {given}. Correct `family` in the preset."
            )

    def _further_channels(self, vae: Mapping[str, Any]) -> int:
        """Channels that the network sees besides the latents', by the VAE's configuration."""
        return 0

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """`embeds[B,L,D]`, zero after a prompt's last token; longer prompts are cut."""
        import torch

        tokens = self.tokenizer(
            [_clean(prompt) for prompt in prompts],
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return Conditioning(embeds=embeds * tokens.attention_mask[:, :, None].to(embeds))

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size, config = self.vae.config.scale_factor_spatial, self.network.config
        strides = (self.vae.config.scale_factor_temporal, size)
        multiple = size * config.patch_size[1]
        return self.noise(request, generators, channels=self.vae.config.z_dim, strides=strides, multiple=multiple)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Velocity at `sigma[B]`; `sigma[B,t]` (0 = that frame is given) for models told a level per token."""
        from engine.sampling.schedules import flow_timesteps

        timestep = flow_timesteps(self.scheduler_config, sigma)
        if self.level_per_token:
            _, _, t, h, w = latents.shape
            patches = (h // self.network.config.patch_size[1]) * (w // self.network.config.patch_size[2])
            frames = timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, t)
            timestep = frames.repeat_interleave(patches, dim=1)
        return self.network(
            **self._seen(latents.to(conditioning.embeds.dtype), conditioning),
            timestep=timestep,
            encoder_hidden_states=conditioning.embeds,
            return_dict=False,
        )[0].float()

    def _seen(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        """What the network sees: the latents, and in other kinds of Wan what it is shown beside them."""
        return {"hidden_states": latents}

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """One clip after another; within a clip the VAE goes from latent frame to latent frame."""
        import torch

        mean, std = self._latent_scale()
        with torch.no_grad():
            rows = (latents * std + mean).to(self.vae.dtype).split(1)
            return to_pixels(torch.cat([self.vae.decode(row, return_dict=False)[0] for row in rows]), latents)

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        return self._whitened(from_pixels(frames, self.device, self.vae.dtype))

    def _whitened(self, pixels: "Tensor") -> "Tensor":
        """The latents of `pixels[B,3,T,H,W]`, -1..1."""
        import torch

        mean, std = self._latent_scale()
        with torch.no_grad():
            latents = torch.cat([self.vae.encode(row).latent_dist.mode() for row in pixels.split(1)])
        return (finite_latents(latents).float() - mean) / std

    def _clip_of(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "Tensor":
        """Pictures `uint8[B,N,H,W,3]` at their places in a clip `[B,3,T,H,W]` that is grey elsewhere."""
        pixels = from_pixels(pictures, self.device, self.vae.dtype)
        clip = pixels.new_zeros(*pixels.shape[:2], num_frames, *pixels.shape[3:])
        clip[:, :, list(places)] = pixels
        return clip

    def _latent_scale(self) -> "tuple[Tensor, Tensor]":
        import torch

        config = self.vae.config
        mean, std = (torch.tensor(v, device=self.device) for v in (config.latents_mean, config.latents_std))
        return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


class WanFirstLastFamily(WanFamily):
    """A Wan model that makes what lies between a first and a last picture."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec, key="wan_flf", title="Wan first-last-frame", native_conditioning=("ends",)
    )
    further: ClassVar[tuple[str, ...]] = ("transformer_2", "image_encoder", "image_processor")

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        self.image_encoder: Any = None
        if self.network.config.image_dim is not None:
            self.image_encoder = self.read_text_encoder("image_encoder")
            self.image_processor = read_image_processor(self.folder)

    def _check_kind(self) -> None:
        super()._check_kind()
        network = read_json(self.folder / "transformer" / "config.json")
        if self.level_per_token or (network.get("image_dim") and not network.get("pos_embed_seq_len")):
            raise FamilyError(f"'{self.folder}' takes a first picture only, and {self.spec.title} a last one too.")

    def _further_channels(self, vae: Mapping[str, Any]) -> int:
        """The given clip's, and the mask of each frame in a latent."""
        return int(vae.get("z_dim", 16) + vae.get("scale_factor_temporal", 4))

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """`shown[B,C,t,h,w]`: mask and given clip; and `ends[B,L,D]`, what CLIP sees in both pictures."""
        import torch

        if list(places) != [0, num_frames - 1]:
            raise FamilyError(f"{self.spec.title} takes pictures at the first and the last frame, not at {places}.")
        clip = self._whitened(self._clip_of(pictures, places, num_frames))
        shown = {"shown": torch.cat([self._mask(clip), clip], dim=1)}
        return shown if self.image_encoder is None else {**shown, "ends": self._look_at(pictures)}

    def _mask(self, clip: "Tensor") -> "Tensor":
        """1 where a frame is given: a channel for each frame in a latent, the first latent holding one frame as many
        times.
        """
        stride = self.vae.config.scale_factor_temporal
        mask = clip.new_zeros(len(clip), stride, *clip.shape[2:])
        mask[:, :, 0] = 1
        mask[:, -1, -1] = 1
        return mask

    def _look_at(self, pictures: "np.ndarray") -> "Tensor":
        import torch

        seen = self.image_processor(images=list(pictures.reshape(-1, *pictures.shape[2:])), return_tensors="pt")
        with torch.no_grad(), on_device(self.image_encoder, self.device):
            pixels = seen.pixel_values.to(self.device, self.image_encoder.dtype)
            states = self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]
        return states.unflatten(0, pictures.shape[:2]).flatten(1, 2)

    def _seen(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        import torch

        given = conditioning.extras or {}
        if "shown" not in given:
            raise FamilyError(f"{self.spec.title} makes only what lies between given pictures: use mode 'keyframes'.")
        seen = {"hidden_states": torch.cat([latents, given["shown"].to(latents)], dim=1)}
        if "ends" in given:
            seen["encoder_hidden_states_image"] = given["ends"].to(latents).unflatten(1, (2, -1)).flatten(0, 1)
        return seen


class WanVACEFamily(WanFamily):
    """A Wan model with VACE beside it: pictures may be given at any frames, or none."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec,
        key="wan_vace",
        title="Wan VACE",
        native_conditioning=("pictures",),
        source="arXiv:2503.07598",
    )
    parts: ClassVar[Mapping[str, Classes]] = {**WanFamily.parts, "transformer": "WanVACETransformer3DModel"}
    nothing: "Tensor | None" = None

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """`control[B,C,t,h,w]`: the clip of what is given, that of what is to be changed (grey), and the mask."""
        import torch

        clip = self._clip_of(pictures, places, num_frames)
        known, grey = self._whitened(clip), self._whitened(torch.zeros_like(clip[:1]))
        unknown = torch.ones(num_frames, device=known.device)
        unknown[list(places)] = 0
        nearest = ((torch.arange(known.shape[2]) + 0.5) * num_frames / known.shape[2]).long()
        pixels_a_latent = self.vae.config.scale_factor_spatial**2
        mask = unknown[nearest][:, None, None].expand(len(known), pixels_a_latent, *known.shape[2:])
        return {"control": torch.cat([known, grey.expand_as(known), mask], dim=1)}

    def _seen(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        control = (conditioning.extras or {}).get("control")
        if control is None:
            control = self._nothing_given(latents).expand(len(latents), -1, -1, -1, -1)
        return {"hidden_states": latents, "control_hidden_states": control.to(latents)}

    def _nothing_given(self, latents: "Tensor") -> "Tensor":
        """The control of a clip of which nothing is known, made once for clips of one shape."""
        import numpy as np

        t, h, w = latents.shape[2:]
        if self.nothing is None or self.nothing.shape[2:] != latents.shape[2:]:
            num_frames, size = (t - 1) * self.vae.config.scale_factor_temporal + 1, self.vae.config.scale_factor_spatial
            none = np.empty((1, 0, h * size, w * size, 3), np.uint8)
            self.nothing = self.encode_pictures(none, (), num_frames)["control"]
        return self.nothing


def _clean(prompt: str) -> str:
    """The prompt as WanPipeline cleans it: by ftfy (mojibake, curly quotes, full-width letters), without HTML entities
    and without runs of white space."""
    import ftfy

    unescaped = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", unescaped).strip()


@cache
def _two_experts() -> Any:
    """The class of Wan 2.2's pair as one network, made here because torch is not imported before a model is opened."""
    import torch
    from diffusers import ModelMixin
    from diffusers.loaders import PeftAdapterMixin

    class TwoExperts(ModelMixin, PeftAdapterMixin):
        """Each clip goes to the expert of its noise level; LoRA, device and type concern both."""

        _supports_gradient_checkpointing = True
        turns_by_level = True
        experts = EXPERTS

        def __init__(self, high_noise: Any, low_noise: Any, boundary: float) -> None:
            super().__init__()
            self.high_noise, self.low_noise, self.boundary = high_noise, low_noise, boundary

        @property
        def config(self) -> Any:
            return self.high_noise.config

        def forward(self, hidden_states: "Tensor", timestep: "Tensor", **others: Any) -> "tuple[Tensor]":
            high = timestep.flatten(1).amax(dim=1) if timestep.ndim == 2 else timestep
            is_high = high >= self.boundary
            if is_high.all() or not is_high.any():
                expert = self.high_noise if is_high.all() else self.low_noise
                return (expert(hidden_states=hidden_states, timestep=timestep, **others)[0],)
            made: list[Any] = [None] * len(high)
            for expert, is_its_own in ((self.high_noise, is_high), (self.low_noise, ~is_high)):
                rows = is_its_own.nonzero().flatten()
                own = {name: _rows_of(value, rows, len(high)) for name, value in others.items()}
                output = expert(hidden_states=hidden_states[rows], timestep=timestep[rows], **own)[0]
                for row, one in zip(rows.tolist(), output, strict=True):
                    made[row] = one
            return (torch.stack(made),)

    return TwoExperts


def _rows_of(value: Any, rows: "Tensor", of: int) -> Any:
    """Some rows of a tensor that has one, or several, for each of `of` clips; anything else as it is."""
    if not hasattr(value, "shape"):
        return value
    return value.unflatten(0, (of, -1))[rows].flatten(0, 1)
