"""LTX-Video and every model of its classes, `mini` among them.

One latent covers a square of pixels and eight frames (the first frame stands alone), so clips have 8k+1 frames; the
strides are the loaded VAE's. The network predicts a flow's velocity and is told the frame rate through its positions.
Source: Lightricks, LTX-Video (arXiv:2501.00103), through diffusers' LTX classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import Conditioning, FamilySpec
from engine.families.loading import check_parts, find_folder, read_json, read_network
from engine.seeds import unit_noise

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.generation.request import GenerationRequest

PARTS = {
    "transformer": "LTXVideoTransformer3DModel",
    "vae": "AutoencoderKLLTXVideo",
    "text_encoder": "T5EncoderModel",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
}
MAX_TOKENS = 128  # text tokens, as LTXPipeline; a tokenizer with a smaller limit has its way


class LTXFamily:
    """An LTX model: `source` is a diffusers folder or hub id; `load` before anything else."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="ltx",
        title="LTX-Video",
        prediction="flow",
        frame_stride=8,
        frame_offset=1,
        size_multiple=32,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        native_conditioning=("frames",),
        licence="code Apache-2.0; LTX-Video weights under Lightricks' own open-weights licence",
        source="arXiv:2501.00103",
    )

    def __init__(self, source: str) -> None:
        self.source = source

    def load(self, device: str, dtype: "torch.dtype") -> None:
        folder = find_folder(self.source, [*PARTS, "tokenizer"])
        check_parts(folder, PARTS)
        # Only now, for they take seconds: a model that is not there is said at once.
        from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
        from transformers import T5EncoderModel

        self.device = device
        self.scheduler_config: Mapping[str, Any] = read_json(folder / "scheduler" / "scheduler_config.json")
        self.network: LTXVideoTransformer3DModel = read_network(
            LTXVideoTransformer3DModel, folder, "transformer", device, dtype
        )
        self.vae: AutoencoderKLLTXVideo = read_network(AutoencoderKLLTXVideo, folder, "vae", device, dtype)
        self.text_encoder: T5EncoderModel = read_network(T5EncoderModel, folder, "text_encoder", device, dtype)
        self.tokenizer = _read_tokenizer(folder)
        if self.network.config.patch_size != 1 or self.network.config.patch_size_t != 1:
            raise FamilyError(
                f"'{folder}': an LTX transformer with patches is not supported, its patch size must be 1."
            )

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """`embeds[B,L,D]`; longer prompts are cut at L tokens."""
        import torch

        length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            embeds = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return Conditioning(embeds=embeds, mask=tokens.attention_mask.bool().to(self.device))

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        stride, size = self.vae.temporal_compression_ratio, self.vae.spatial_compression_ratio
        if (request.num_frames - 1) % stride or request.width % size or request.height % size:
            raise FamilyError(
                f"This VAE needs {stride}k+1 frames and sides that are multiples of {size} px, but the request has "
                f"{request.num_frames} frames at {request.width}x{request.height}."
            )
        shape = ((request.num_frames - 1) // stride + 1, request.height // size, request.width // size)
        return unit_noise((self.network.config.in_channels, *shape), generators).to(self.device)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Velocity; `sigma[B]`, or `sigma[B,t]` with a level for each latent frame (0 = that frame is given)."""
        assert conditioning.fps, "an LTX network must be told the frame rate: set Conditioning.fps"
        num_clips, _, t, h, w = latents.shape
        dtype = conditioning.embeds.dtype
        timestep = sigma * self.scheduler_config.get("num_train_timesteps", 1000)
        if timestep.ndim == 2:
            timestep = timestep[:, :, None].expand(num_clips, t, h * w).flatten(1)
        size = self.vae.spatial_compression_ratio
        seconds = self.vae.temporal_compression_ratio / conditioning.fps
        velocity = self.network(
            hidden_states=latents.flatten(2).transpose(1, 2).to(dtype),
            encoder_hidden_states=conditioning.embeds,
            timestep=timestep,
            encoder_attention_mask=conditioning.mask,
            num_frames=t,
            height=h,
            width=w,
            rope_interpolation_scale=(seconds, size, size),
            return_dict=False,
        )[0]
        return velocity.float().transpose(1, 2).unflatten(2, (t, h, w))

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """One clip after another, so that memory stays that of one. A VAE with a decoding timestep is given 0."""
        import torch

        mean, std = self._latent_scale()
        timestep = torch.zeros(1, device=self.device, dtype=self.vae.dtype) if self._decodes_at_a_timestep else None
        with torch.no_grad():
            rows = (latents * std + mean).to(self.vae.dtype).split(1)
            frames = torch.cat([self.vae.decode(row, timestep, return_dict=False)[0] for row in rows])
        pixels = ((frames.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 4, 1).cpu().numpy()

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        mean, std = self._latent_scale()
        pixels = torch.from_numpy(frames).to(self.device).permute(0, 4, 1, 2, 3).to(self.vae.dtype) / 127.5 - 1
        with torch.no_grad():
            latents = torch.cat([self.vae.encode(row).latent_dist.mode() for row in pixels.split(1)])
        return (latents.float() - mean) / std

    def _latent_scale(self) -> "tuple[Tensor, Tensor]":
        """Mean and spread of the VAE's latents, by channel; the network sees them whitened."""
        scale = self.vae.config.scaling_factor
        mean, std = (v.float().view(1, -1, 1, 1, 1) for v in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std / scale

    @property
    def _decodes_at_a_timestep(self) -> bool:
        return bool(self.vae.config.timestep_conditioning)


def _read_tokenizer(folder: "Any") -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise FamilyError(f"The tokenizer in '{folder}/tokenizer' cannot be read: {error}") from error
