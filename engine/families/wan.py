"""Wan 2.1 and 2.2, text to video.

Causal VAE, four frames to a latent after the first, so clips have 4k+1 frames; the network predicts a flow's velocity.
Wan 2.2's large model is two experts, one above the noise level `boundary_ratio` and one below; its 5B model is told a
noise level for each token. The folders' UniPC scheduler says the levels; Dailies steps from one to the next by Euler.
Source: Wan team, Alibaba (arXiv:2503.20314), through diffusers' Wan classes.
"""

import html
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from engine.families.base import Conditioning, FamilySpec
from engine.families.loading import (
    Classes,
    DiffusersFamily,
    from_pixels,
    read_json,
    read_tokenizer,
    resident,
    to_pixels,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.generation.request import GenerationRequest

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

    def load(self, device: str, dtype: "torch.dtype") -> None:
        """The VAE computes in float32 whatever `dtype` is, as its authors run it."""
        import torch

        self.open_folder(device, dtype, extra=["transformer_2"])
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}
        index = read_json(self.folder / "model_index.json")
        self.network = self.read("transformer")
        self.level_per_token = bool(index.get("expand_timesteps"))
        if index.get("boundary_ratio") is not None:
            self.network = _two_experts()(self.network, self.read("transformer_2"), index["boundary_ratio"] * 1000)
        self.vae = self.read_vae(torch.float32)
        self.text_encoder = self.read_text_encoder()
        self.tokenizer = read_tokenizer(self.folder)

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
        with torch.no_grad(), resident(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return Conditioning(embeds=embeds * tokens.attention_mask[:, :, None].to(embeds))

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size, config = self.vae.config.scale_factor_spatial, self.network.config
        strides = (self.vae.config.scale_factor_temporal, size)
        multiple = size * config.patch_size[1]
        return self.noise(request, generators, channels=config.in_channels, strides=strides, multiple=multiple)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Velocity at `sigma[B]`; `sigma[B,t]` (0 = that frame is given) for models told a level per token."""
        timestep = 1000 * sigma
        if self.level_per_token:
            _, _, t, h, w = latents.shape
            patches = (h // self.network.config.patch_size[1]) * (w // self.network.config.patch_size[2])
            frames = timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, t)
            timestep = frames.repeat_interleave(patches, dim=1)
        return self.network(
            hidden_states=latents.to(conditioning.embeds.dtype),
            timestep=timestep,
            encoder_hidden_states=conditioning.embeds,
            return_dict=False,
        )[0].float()

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """One clip after another; within a clip the VAE goes from latent frame to latent frame."""
        import torch

        mean, std = self._latent_scale()
        with torch.no_grad():
            rows = (latents * std + mean).to(self.vae.dtype).split(1)
            return to_pixels(torch.cat([self.vae.decode(row, return_dict=False)[0] for row in rows]))

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        mean, std = self._latent_scale()
        pixels = from_pixels(frames, self.device, self.vae.dtype)
        with torch.no_grad():
            latents = torch.cat([self.vae.encode(row).latent_dist.mode() for row in pixels.split(1)])
        return (latents.float() - mean) / std

    def _latent_scale(self) -> "tuple[Tensor, Tensor]":
        import torch

        config = self.vae.config
        mean, std = (torch.tensor(v, device=self.device) for v in (config.latents_mean, config.latents_std))
        return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def _clean(prompt: str) -> str:
    """The prompt without HTML entities and runs of white space, as Wan was trained."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()


@cache
def _two_experts() -> Any:
    """The class of Wan 2.2's pair as one network, made here because torch is not imported before a model is opened."""
    import torch
    from diffusers import ModelMixin
    from diffusers.loaders import PeftAdapterMixin

    class TwoExperts(ModelMixin, PeftAdapterMixin):
        """Each clip goes to the expert of its noise level; LoRA, device and type concern both."""

        _supports_gradient_checkpointing = True

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
            embeds = others.pop("encoder_hidden_states")
            output = torch.empty_like(hidden_states)
            for expert, rows in ((self.high_noise, is_high), (self.low_noise, ~is_high)):
                output[rows] = expert(
                    hidden_states=hidden_states[rows],
                    timestep=timestep[rows],
                    encoder_hidden_states=embeds[rows],
                    **others,
                )[0]
            return (output,)

    return TwoExperts
