"""Mochi 1, text to video.

The VAE is causal, with six frames per latent after the first, so clips have 6k+1 frames. The network predicts the
velocity from noise to clip, at timesteps that count from noise (0) to clip (1000): both are the reverse of a flow here.
The levels are linear at high noise and quadratic below.
Source: Genmo, Mochi 1 (github.com/genmoai/mochi), through diffusers' Mochi classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device, read_json
from engine.families.vae import latent_scale
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    from torch import Tensor


MAX_TOKENS = 256  # text tokens, as in MochiPipeline


class MochiFamily(DiffusersFamily):
    """A Mochi model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="mochi",
        title="Mochi 1",
        prediction="flow",
        frame_stride=6,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.MOCHI,
        block_classes=("MochiTransformerBlock", "MochiAttentionPool"),
        text_tokens=MAX_TOKENS,
        licence="Apache-2.0",
        source="github.com/genmoai/mochi",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "MochiTransformer3DModel",
        "vae": "AutoencoderKLMochi",
        "text_encoder": "T5EncoderModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }

    def check_folder(self) -> None:
        if read_json(self.folder / "model_index.json").get("force_zeros_for_empty_prompt"):
            raise FamilyError(f"'{self.folder}' encodes empty prompts as zeros, which is not supported.")
        self.scheduler_config = {**self.scheduler_config, "_grid": "linear_quadratic", "invert_sigmas": False}

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]` with a mask; longer prompts are cut."""
        import torch

        fill = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer(list(prompts), max_length=MAX_TOKENS, **fill).to(self.device)
        mask = tokens.attention_mask.bool()
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids, attention_mask=mask)[0]
        return Conditioning(embeds=embeds, mask=mask)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`."""
        return -self.network(
            hidden_states=latents.to(conditioning.embeds.dtype),
            timestep=flow_timesteps(self.scheduler_config, 1 - sigma.float()),
            encoder_hidden_states=conditioning.embeds,
            encoder_attention_mask=conditioning.mask,
            return_dict=False,
        )[0].float()

    def unscale(self, latents: "Tensor") -> "Tensor":
        mean, std = latent_scale(self.vae, self.device)
        return latents * std / self.vae.config.scaling_factor + mean

    def scale(self, latents: "Tensor") -> "Tensor":
        mean, std = latent_scale(self.vae, self.device)
        return (latents - mean) / std * self.vae.config.scaling_factor
