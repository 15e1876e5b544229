"""CogVideoX 2B and 5B, and CogVideoX 1.5 5B, text to video.

The VAE is causal, with four frames per latent after the first and two latents at a time, so clips have 8k+1 frames. The
network predicts v at the timesteps of a noise table whose last level is pure noise. Sampling uses DDIM, regardless of
the folder's scheduler.

CogVideoX 1.5 has patches of two latents in time, but a clip has an odd number of them. One more is denoised before the
clip's own and not decoded; in training it is a copy of the first, as in the authors' trainer.
Source: Yang et al., CogVideoX (arXiv:2408.06072), through diffusers' CogVideoX classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import nearest_timesteps, training_sigmas

if TYPE_CHECKING:
    from torch import Tensor


class CogVideoXFamily(DiffusersFamily):
    """A CogVideoX model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="cogvideox",
        title="CogVideoX",
        prediction="v_prediction",
        frame_stride=8,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.COGVIDEOX,
        block_classes=("CogVideoXBlock",),
        text_tokens=226,
        licence="2B Apache-2.0; 5B under the CogVideoX licence",
        source="arXiv:2408.06072",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "CogVideoXTransformer3DModel",
        "vae": "AutoencoderKLCogVideoX",
        "text_encoder": "T5EncoderModel",
        "scheduler": ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
    }

    def check_folder(self) -> None:
        if self.scheduler_config.get("prediction_type") != self.spec.prediction:
            raise FamilyError(f"'{self.folder}': a CogVideoX scheduler must have prediction_type = 'v_prediction'.")
        self.table = training_sigmas(self.scheduler_config).to(self.device)

    def check_network(self) -> None:
        config = self.network.config
        if config.in_channels != config.out_channels:
            raise FamilyError(f"'{self.folder}' generates from a picture: only text-to-video models are supported.")
        if (config.patch_size_t is not None) != bool(self.spec.lead_latents):
            other = "cogvideox" if self.spec.lead_latents else "cogvideox15"
            raise FamilyError(f"'{self.folder}' belongs to another family: set family = '{other}' in the preset.")

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]`; the network attends to the padding too, so there is no mask."""
        import torch

        length = self.network.config.max_text_seq_length
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return Conditioning(embeds=embeds)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict v at the timestep whose noise level is nearest to `sigma[B]`."""
        v = self.network(
            hidden_states=latents.transpose(1, 2).to(conditioning.embeds.dtype),
            encoder_hidden_states=conditioning.embeds,
            timestep=nearest_timesteps(self.table, sigma),
            image_rotary_emb=self._rotary(latents),
            return_dict=False,
        )[0]
        return v.float().transpose(1, 2)

    @property
    def strides(self) -> tuple[int, int]:
        return self.vae.config.temporal_compression_ratio, int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def _rotary(self, latents: "Tensor") -> "tuple[Tensor, Tensor] | None":
        """Return the rotary embedding of a clip; None for 2B, which has learned position embeddings."""
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        config, patch = self.network.config, self.network.config.patch_size
        if not config.use_rotary_positional_embeddings:
            return None
        grid = (latents.shape[3] // patch, latents.shape[4] // patch)
        cos, sin = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            grid_size=grid,
            temporal_size=latents.shape[2] // (config.patch_size_t or 1),
            device=latents.device,
            **self._places(grid, (config.sample_height // patch, config.sample_width // patch)),
        )
        return cos, sin

    def _places(self, grid: tuple[int, int], trained: tuple[int, int]) -> dict[str, Any]:
        """Return where the grid of patches (rows, columns) lies in that of training: a crop of its shape."""
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        return {"crops_coords": get_resize_crop_region_for_grid(grid, trained[1], trained[0])}


class CogVideoX15Family(CogVideoXFamily):
    """A CogVideoX 1.5 model; its authors state clips of 16k+1 frames."""

    spec: ClassVar[FamilySpec] = replace(
        CogVideoXFamily.spec,
        key="cogvideox15",
        title="CogVideoX 1.5",
        frame_stride=16,
        lead_latents=1,
        licence="CogVideoX licence",
    )

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        return super().decode_pixels(latents[:, :, self.spec.lead_latents :])

    def encode_video(self, pixels: "Tensor") -> "Tensor":
        import torch

        latents = super().encode_video(pixels)
        return torch.cat([latents[:, :, :1], latents], dim=2)

    def _places(self, grid: tuple[int, int], trained: tuple[int, int]) -> dict[str, Any]:
        """Return that the grid begins in the corner of that of training."""
        return {"crops_coords": None, "grid_type": "slice", "max_size": trained}
