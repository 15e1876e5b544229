"""LTX-Video models: `ltx` (first version, `mini`), `ltx_condition` (0.9.5 and later), `ltx2` (LTX-2).

One latent covers a square of pixels and eight frames (the first frame has its own latent), so clips have 8k+1 frames;
the strides are those of the loaded VAE. The network predicts a flow's velocity, and the frame rate enters through the
token positions. Clean pictures may be given as additional tokens, each at its own time.

ltx_condition   was trained with given pictures. It counts time in frames of the clip (the first version: in latents),
                takes smaller steps at high noise, masks a prompt's padding, and takes a picture at the first frame as
                the first latent itself.
ltx2            also generates sound; here the modalities are isolated, as in its own modality guidance, so that sound
                does not affect the video. It takes pictures as `ltx_condition` does, and encodes prompts with Gemma.

Sources: Lightricks, LTX-Video (arXiv:2501.00103) and LTX-2 (arXiv:2601.03233); through diffusers' LTX classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device, read_json, read_network
from engine.families.vae import finite_latents, from_pixels, split_batch, to_pixels
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.given_frame import predict_with_first
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


SMALL_TOKENS = 192  # latents of a clip: below, `mini`'s autoencoder is faster with two clips than with one on a CPU
MAX_TOKENS = 128  # text tokens, as in LTXPipeline; a tokenizer's smaller limit takes precedence


def _is_small(latents: "Tensor") -> bool:
    return latents.device.type == "cpu" and latents.shape[2:].numel() <= SMALL_TOKENS


class LTXFamily(DiffusersFamily):
    """An LTX model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="ltx",
        title="LTX-Video",
        prediction="flow",
        frame_stride=8,
        frame_offset=1,
        size_multiple=32,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.LTX,
        block_classes=("LTXVideoTransformerBlock", "LTX2VideoTransformerBlock"),
        native_conditioning=("frame_sigmas", "image_keyframes"),
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

    reads_padding: ClassVar[bool] = True
    grid: ClassVar[str] = "even"
    other_kinds: ClassVar[tuple[str, ...]] = ("LTXConditionPipeline",)

    def check_folder(self) -> None:
        self.scheduler_config = {**self.scheduler_config, "_grid": self.grid}
        kind = read_json(self.folder / "model_index.json").get("_class_name")
        if kind in self.other_kinds:
            raise FamilyError(
                f"'{self.folder}' has another version ({kind}) than {self.spec.title}: correct `family` in the preset."
            )

    def check_network(self) -> None:
        if self.network.config.patch_size != 1 or self.network.config.patch_size_t != 1:
            raise FamilyError(
                f"'{self.folder}': an LTX transformer with patches is not supported, its patch size must be 1."
            )

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]`; longer prompts are cut at L tokens."""
        import torch

        length = min(self.spec.text_tokens or MAX_TOKENS, self.tokenizer.model_max_length)
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids, mask = tokens.input_ids.to(self.device), tokens.attention_mask.bool().to(self.device)
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds = self.text_encoder(ids, attention_mask=None if self.reads_padding else mask)[0]
        return Conditioning(embeds=embeds, mask=mask)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`, or at `sigma[B,t]` with a level per latent frame (0 = given)."""
        return predict_with_first(self._predict, latents, sigma, conditioning)

    def _predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":

        assert conditioning.fps, "an LTX network needs the frame rate: set Conditioning.fps"
        _, _, t, h, w = latents.shape
        pictures = (conditioning.extras or {}).get("pictures")
        level = sigma[:, None].expand(-1, t) if pictures is not None and sigma.ndim == 1 else sigma
        tokens = latents.flatten(2).transpose(1, 2)
        positions = self._positions(latents, conditioning.fps)
        if pictures is not None:
            import torch

            tokens = torch.cat([tokens, pictures.flatten(2).transpose(1, 2).to(tokens)], dim=1)
            level = torch.cat([level, level.new_zeros(len(level), pictures.shape[2])], dim=1)
            positions = {"video_coords": self._coordinates(latents, conditioning)}
        timestep = flow_timesteps(self.scheduler_config, level)
        if timestep.ndim == 2:
            timestep = timestep.repeat_interleave(h * w, dim=1)
        velocity = self._velocity(tokens.to(conditioning.embeds.dtype), timestep, conditioning, positions)
        return velocity[:, : t * h * w].float().transpose(1, 2).unflatten(2, (t, h, w))

    def _velocity(
        self, tokens: "Tensor", timestep: "Tensor", conditioning: Conditioning, positions: dict[str, Any]
    ) -> "Tensor":
        """Return the velocity of `tokens[B,N,C]` at `timestep[B]` or `[B,N]`."""
        return self.network(
            hidden_states=tokens,
            encoder_hidden_states=conditioning.embeds,
            timestep=timestep,
            encoder_attention_mask=conditioning.mask,
            return_dict=False,
            **positions,
        )[0]

    def _positions(self, latents: "Tensor", fps: float) -> dict[str, Any]:
        """Return the network's arguments for the positions of the latents."""
        t, h, w = latents.shape[2:]
        return {"rope_interpolation_scale": self._scale(fps), "num_frames": t, "height": h, "width": w}

    def _times(self, num_latents: int, fps: float) -> "Tensor":
        """Return the time of each latent frame in seconds."""
        import torch

        return torch.arange(num_latents) * self._scale(fps)[0]

    def _scale(self, fps: float) -> tuple[float, int, int]:
        """Return the distance of neighbouring latents in seconds and pixels (height, width)."""
        size = self.vae.spatial_compression_ratio
        return self.vae.temporal_compression_ratio / fps, size, size

    def _coordinates(self, latents: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Return token positions `[B,3,N]` in seconds and pixels: latents first, then given pictures."""
        import torch

        num_clips, _, t, h, w = latents.shape
        fps = conditioning.fps or 1
        _, down, right = self._scale(fps)
        picture_times = (conditioning.extras or {})["picture_frames"].to(latents.device).float() / fps
        times = torch.cat([self._times(t, fps).to(latents.device).expand(num_clips, t), picture_times], dim=1)
        y, x = torch.meshgrid(torch.arange(h) * float(down), torch.arange(w) * float(right), indexing="ij")
        grid = torch.stack([y, x]).flatten(1).to(latents.device)
        places = grid.repeat(1, times.shape[1]).expand(num_clips, -1, -1)
        return torch.cat([times.repeat_interleave(h * w, dim=1)[:, None], places], dim=1)

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """Decode one clip after another (see `split_batch`), at timestep 0 if the VAE takes one."""
        import numpy as np
        import torch

        with torch.no_grad():
            return np.concatenate([to_pixels(pixels, rows) for pixels, rows in self._decoded(latents)])

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        import torch

        return torch.cat([pixels for pixels, _ in self._decoded(latents)])

    def _decoded(self, latents: "Tensor") -> Iterator["tuple[Tensor, Tensor]"]:
        """Yield the pixels of each part of the batch, and the VAE's input."""
        import torch

        mean, std = self._latent_scale()
        scaled = (latents * std + mean).to(self.vae.dtype)
        takes_timestep = bool(self.vae.config.timestep_conditioning)
        for rows, count in split_batch(scaled, small=_is_small(latents)):
            timestep = torch.zeros(len(rows), device=self.device, dtype=self.vae.dtype) if takes_timestep else None
            yield self.vae.decode(rows, timestep, return_dict=False)[0][:count], rows

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        mean, std = self._latent_scale()
        pixels = from_pixels(frames, self.device, self.vae.dtype)
        across = self.vae.spatial_compression_ratio
        small = pixels[:, :1, :: self.vae.temporal_compression_ratio, ::across, ::across]
        with torch.no_grad():
            rows = split_batch(pixels, small=_is_small(small))
            latents = torch.cat([self.vae.encode(part).latent_dist.mode()[:count] for part, count in rows])
        return (finite_latents(latents).float() - mean) / std

    def _latent_scale(self) -> "tuple[Tensor, Tensor]":
        """Return mean and standard deviation of the VAE's latents by channel.

        The network works on whitened latents.
        """
        scale = self.vae.config.scaling_factor
        mean, std = (v.float().view(1, -1, 1, 1, 1) for v in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std / scale


class LTXConditionFamily(LTXFamily):
    """An LTX-Video model of version 0.9.5 or later, equivalent to LTXConditionPipeline."""

    spec: ClassVar[FamilySpec] = replace(
        LTXFamily.spec, key="ltx_condition", title="LTX-Video 0.9.5 and later", text_tokens=256
    )
    reads_padding: ClassVar[bool] = False
    grid: ClassVar[str] = "linear_quadratic"
    other_kinds: ClassVar[tuple[str, ...]] = ("LTXPipeline",)

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return a picture at frame 0 as `first[B,C,h,w]`, the others as additional tokens."""
        encoded = super().encode_pictures(pictures, places, num_frames)
        first = [index for index, place in enumerate(places) if place == 0]
        later = [index for index, place in enumerate(places) if place != 0]
        extras = {"pictures": encoded["pictures"][:, :, later], "picture_frames": encoded["picture_frames"][:, later]}
        return {**extras, "first": encoded["pictures"][:, :, first[0]]} if first else extras

    def _positions(self, latents: "Tensor", fps: float) -> dict[str, Any]:
        import torch

        empty = torch.zeros(len(latents), 0, device=latents.device)
        no_pictures = Conditioning(embeds=empty, fps=fps, extras={"picture_frames": empty})
        return {"video_coords": self._coordinates(latents, no_pictures)}

    def _times(self, num_latents: int, fps: float) -> "Tensor":
        """Return the time of each latent's first frame.

        The first latent covers one frame, others a full stride.
        """
        import torch

        stride = self.vae.temporal_compression_ratio
        return (torch.arange(num_latents) * stride + 1 - stride).clamp(min=0) / fps


class LTX2Family(LTXConditionFamily):
    """The video of an LTX-2 model (2.0 or 2.3), equivalent to LTX2ConditionPipeline without sound."""

    spec: ClassVar[FamilySpec] = replace(
        LTXConditionFamily.spec,
        key="ltx2",
        title="LTX-2 (video)",
        # The video's layers only: the names of the sound's layers have the same endings, but these learn nothing here.
        lora_targets=tuple(f"{layer}.{name}" for layer in ("attn1", "attn2") for name in LTXFamily.spec.lora_targets),
        layer_names=layer_names.LTX2,
        text_tokens=1024,
        licence="LTX-2 community licence of Lightricks: read it before use",
        source="arXiv:2601.03233",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "LTX2VideoTransformer3DModel",
        "vae": "AutoencoderKLLTX2Video",
        "text_encoder": "Gemma3ForConditionalGeneration",
        "connectors": "LTX2TextConnectors",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }
    grid: ClassVar[str] = "even"
    other_kinds: ClassVar[tuple[str, ...]] = ()

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        from diffusers.pipelines.ltx2 import LTX2TextConnectors

        self.connectors = read_network(LTX2TextConnectors, self.folder, "connectors", device, dtype)
        self.tokenizer.padding_side = "left"

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]` and mask: the connectors' output for the hidden states of Gemma."""
        import torch

        length = min(self.spec.text_tokens or MAX_TOKENS, self.tokenizer.model_max_length)
        words = [prompt.strip() for prompt in prompts]
        fill = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer(words, max_length=length, **fill).to(self.device)
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            states = self.text_encoder(**tokens, output_hidden_states=True, logits_to_keep=1).hidden_states
            layers = torch.stack(states, dim=-1).flatten(2)
            embeds, _, mask = self.connectors(layers, tokens.attention_mask, padding_side="left")
        return Conditioning(embeds=embeds, mask=mask)

    def _velocity(
        self, tokens: "Tensor", timestep: "Tensor", conditioning: Conditioning, positions: dict[str, Any]
    ) -> "Tensor":
        """Return the velocity.

        The network requires a sound input, here one empty token isolated from the video.
        """
        config = self.network.config
        width = config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim
        level = timestep.amax(dim=1) if timestep.ndim == 2 else timestep
        return self.network(
            hidden_states=tokens,
            audio_hidden_states=tokens.new_zeros(len(tokens), 1, config.audio_in_channels),
            encoder_hidden_states=conditioning.embeds,
            audio_encoder_hidden_states=tokens.new_zeros(len(tokens), 1, width),
            timestep=timestep,
            audio_timestep=level,
            sigma=level,
            encoder_attention_mask=conditioning.mask,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
            **positions,
        )[0]

    def _coordinates(self, latents: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Return the start and end of each token, `[B,3,N,2]` in seconds and pixels.

        A picture lasts one frame.
        """
        import torch

        num_clips, _, t, h, w = latents.shape
        fps = conditioning.fps or 1
        places = self.network.rope.prepare_video_coords(num_clips, t, h, w, latents.device, fps=fps)
        frames = (conditioning.extras or {})["picture_frames"].to(latents.device).float()
        times = torch.stack([frames, frames + 1], dim=-1).repeat_interleave(h * w, dim=1)[:, None] / fps
        grid = places[:, 1:, : h * w].repeat(1, 1, frames.shape[1], 1)
        return torch.cat([places, torch.cat([times, grid], dim=1)], dim=2)
