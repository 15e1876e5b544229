"""LTX-Video and every model of its classes, `mini` among them.

One latent covers a square of pixels and eight frames (the first frame stands alone), so clips have 8k+1 frames; the
strides are the loaded VAE's. The network predicts a flow's velocity and is told the frame rate through its positions;
clean pictures may be given as further tokens, each at its own time.
Source: Lightricks, LTX-Video (arXiv:2501.00103), through diffusers' LTX classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from engine.errors import FamilyError
from engine.families.base import Conditioning, FamilySpec
from engine.families.loading import Classes, DiffusersFamily, from_pixels, read_tokenizer, resident, to_pixels

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.generation.request import GenerationRequest

MAX_TOKENS = 128  # text tokens, as LTXPipeline; a tokenizer with a smaller limit has its way


class LTXFamily(DiffusersFamily):
    """An LTX model: `source` is a diffusers folder or hub id; `load` before anything else."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="ltx",
        title="LTX-Video",
        prediction="flow",
        frame_stride=8,
        frame_offset=1,
        size_multiple=32,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        native_conditioning=("frames", "pictures"),
        text_tokens=MAX_TOKENS,
        licence="code Apache-2.0; LTX-Video weights under Lightricks' own open-weights licence",
        source="arXiv:2501.00103",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "LTXVideoTransformer3DModel",
        "vae": "AutoencoderKLLTXVideo",
        "text_encoder": "T5EncoderModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }

    def load(self, device: str, dtype: "torch.dtype") -> None:
        self.open_folder(device, dtype)
        self.network = self.read("transformer")
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.tokenizer = read_tokenizer(self.folder)
        if self.network.config.patch_size != 1 or self.network.config.patch_size_t != 1:
            raise FamilyError(
                f"'{self.folder}': an LTX transformer with patches is not supported, its patch size must be 1."
            )

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """`embeds[B,L,D]`; longer prompts are cut at L tokens."""
        import torch

        length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with torch.no_grad(), resident(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return Conditioning(embeds=embeds, mask=tokens.attention_mask.bool().to(self.device))

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size = self.vae.spatial_compression_ratio
        strides = (self.vae.temporal_compression_ratio, size)
        return self.noise(request, generators, channels=self.network.config.in_channels, strides=strides, multiple=size)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Velocity; `sigma[B]`, or `sigma[B,t]` with a level for each latent frame (0 = that frame is given)."""
        assert conditioning.fps, "an LTX network must be told the frame rate: set Conditioning.fps"
        _, _, t, h, w = latents.shape
        given = (conditioning.extras or {}).get("pictures")
        level = sigma[:, None].expand(-1, t) if given is not None and sigma.ndim == 1 else sigma
        tokens = latents.flatten(2).transpose(1, 2)
        where = {"rope_interpolation_scale": self._scale(conditioning.fps), "num_frames": t, "height": h, "width": w}
        if given is not None:
            import torch

            tokens = torch.cat([tokens, given.flatten(2).transpose(1, 2).to(tokens)], dim=1)
            level = torch.cat([level, level.new_zeros(len(level), given.shape[2])], dim=1)
            where = {"video_coords": self._places(latents, conditioning)}
        timestep = level * self.scheduler_config.get("num_train_timesteps", 1000)
        velocity = self.network(
            hidden_states=tokens.to(conditioning.embeds.dtype),
            encoder_hidden_states=conditioning.embeds,
            timestep=timestep.repeat_interleave(h * w, dim=1) if timestep.ndim == 2 else timestep,
            encoder_attention_mask=conditioning.mask,
            return_dict=False,
            **where,
        )[0]
        return velocity[:, : t * h * w].float().transpose(1, 2).unflatten(2, (t, h, w))

    def _scale(self, fps: float) -> tuple[float, int, int]:
        """Seconds and pixels from one latent to the next."""
        size = self.vae.spatial_compression_ratio
        return self.vae.temporal_compression_ratio / fps, size, size

    def _places(self, latents: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Where the tokens of the latents and of the given pictures are, `[B,3,N]` in seconds and pixels."""
        import torch

        num_clips, _, t, h, w = latents.shape
        seconds, down, right = self._scale(conditioning.fps or 1)
        given = (conditioning.extras or {})["picture_frames"].to(latents.device).float() / (conditioning.fps or 1)
        times = torch.cat([(torch.arange(t, device=latents.device) * seconds).expand(num_clips, t), given], dim=1)
        y, x = torch.meshgrid(torch.arange(h) * float(down), torch.arange(w) * float(right), indexing="ij")
        grid = torch.stack([y, x]).flatten(1).to(latents.device)
        places = grid.repeat(1, times.shape[1]).expand(num_clips, -1, -1)
        return torch.cat([times.repeat_interleave(h * w, dim=1)[:, None], places], dim=1)

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """One clip after another, so that memory stays that of one. A VAE with a decoding timestep is given 0."""
        import torch

        mean, std = self._latent_scale()
        at_a_timestep = bool(self.vae.config.timestep_conditioning)
        timestep = torch.zeros(1, device=self.device, dtype=self.vae.dtype) if at_a_timestep else None
        with torch.no_grad():
            rows = (latents * std + mean).to(self.vae.dtype).split(1)
            return to_pixels(torch.cat([self.vae.decode(row, timestep, return_dict=False)[0] for row in rows]))

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        mean, std = self._latent_scale()
        pixels = from_pixels(frames, self.device, self.vae.dtype)
        with torch.no_grad():
            latents = torch.cat([self.vae.encode(row).latent_dist.mode() for row in pixels.split(1)])
        return (latents.float() - mean) / std

    def _latent_scale(self) -> "tuple[Tensor, Tensor]":
        """Mean and spread of the VAE's latents, by channel; the network sees them whitened."""
        scale = self.vae.config.scaling_factor
        mean, std = (v.float().view(1, -1, 1, 1, 1) for v in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std / scale
