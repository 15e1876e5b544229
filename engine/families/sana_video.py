"""Sana-Video, text to video: the 2B model for 480p.

The VAE is that of Wan 2.1: causal, with four frames per latent after the first, so clips have 4k+1 frames. The network
attends linearly and predicts a flow's velocity. Gemma encodes a prompt inside an instruction to enhance it, and a
negative prompt without. The folder's DPM-Solver defines the levels; Dailies uses Euler steps.
Source: NVIDIA, SANA-Video (arXiv:2509.24695), through diffusers' classes.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device
from engine.families.vae import NormalisedLatents
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 300  # text tokens after the instruction, as in SanaVideoPipeline


class SanaVideoFamily(NormalisedLatents, DiffusersFamily):
    """A Sana-Video model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="sana_video",
        title="Sana-Video",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.SANA_VIDEO,
        block_classes=("SanaVideoTransformerBlock",),
        text_tokens=MAX_TOKENS,
        has_plain_negatives=True,
        licence="NVIDIA Open Model License; text encoder under the Gemma terms of use",
        source="arXiv:2509.24695",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "SanaVideoTransformer3DModel",
        "vae": "AutoencoderKLWan",
        "text_encoder": "Gemma2Model",
        "scheduler": ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    }

    def check_folder(self) -> None:
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}

    def read_vae(self, dtype: "torch.dtype | None" = None) -> Any:
        """Return the VAE in float32 regardless of the model's dtype, as in its authors' code."""
        import torch

        return super().read_vae(torch.float32)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts inside the instruction of diffusers' pipeline as `embeds[B,L,D]` with a mask.

        Longer ones are cut.
        """
        from diffusers import SanaVideoPipeline

        parameters = inspect.signature(SanaVideoPipeline.__call__).parameters
        return self._encode(prompts, parameters["complex_human_instruction"].default)

    def encode_negative(self, prompts: Sequence[str]) -> Conditioning:
        """Encode negative prompts as they are, see `encode`."""
        return self._encode(prompts, None)

    def _encode(self, prompts: Sequence[str], instruction: list[str] | None) -> Conditioning:
        import torch
        from diffusers import SanaVideoPipeline

        texts = {"tokenizer": self.tokenizer, "text_encoder": self.text_encoder}
        pipeline = SanaVideoPipeline(transformer=None, vae=None, scheduler=None, **texts)
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds, mask, _, _ = pipeline.encode_prompt(
                list(prompts),
                do_classifier_free_guidance=False,
                max_sequence_length=MAX_TOKENS,
                complex_human_instruction=instruction,
                device=self.device,
            )
        return Conditioning(embeds=embeds, mask=mask.bool())

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        config, strides = self.network.config, self.strides
        multiple = strides[1] * config.patch_size[1]
        return self.noise(request, generators, channels=config.in_channels, strides=strides, multiple=multiple)

    @property
    def strides(self) -> tuple[int, int]:
        return self.vae.config.scale_factor_temporal, self.vae.config.scale_factor_spatial

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`."""
        return self.network(
            hidden_states=latents.to(conditioning.embeds.dtype),
            encoder_hidden_states=conditioning.embeds,
            encoder_attention_mask=conditioning.mask,
            timestep=flow_timesteps(self.scheduler_config, sigma),
            return_dict=False,
        )[0].float()
