"""HunyuanVideo-1.5, from text and from a first picture.

The VAE is causal, with four frames per latent after the first and 16 pixels a latent, so clips have 4k+1 frames. The
network predicts a flow's velocity. It takes a given clip as further channels, with a mask of the given latents, and a
picture's embeddings as further tokens. Qwen2.5-VL encodes prompts inside a fixed instruction, and ByT5 the texts in
quotes, which the clip is to show.

hunyuanvideo15      text only: the given clip and the picture are empty.
hunyuanvideo15_i2v  the given clip is the first picture's latent, zero after it; SigLIP encodes the picture. The first
                    latent frame is generated from it, like the others.
Source: Tencent, HunyuanVideo 1.5 (arXiv:2511.18870), through diffusers' HunyuanVideo15 classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.exchange import layer_names
from engine.families.loading import Classes, DiffusersFamily, on_device, read_image_processor, read_tokenizer
from engine.families.vae import decode_rows, encode_rows, from_pixels
from engine.model_spec import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest


class HunyuanVideo15Family(DiffusersFamily):
    """A HunyuanVideo-1.5 model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="hunyuanvideo15",
        title="HunyuanVideo-1.5",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.HUNYUAN_VIDEO_15,
        block_classes=("HunyuanVideo15TransformerBlock", "HunyuanVideo15IndividualTokenRefinerBlock"),
        text_tokens=1000,
        licence="Tencent Hunyuan community licence (not for use in the EU, the UK and South Korea)",
        source="arXiv:2511.18870",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "HunyuanVideo15Transformer3DModel",
        "vae": "AutoencoderKLHunyuanVideo15",
        "text_encoder": "Qwen2_5_VLTextModel",
        "text_encoder_2": "T5EncoderModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }

    optional_parts: ClassVar[tuple[str, ...]] = ("tokenizer_2",)

    def load(self, device: str, dtype: "torch.dtype") -> None:
        self.open_folder(device, dtype)
        self.network = self.read("transformer")
        if self.network.config.use_meanflow:
            raise FamilyError(
                f"'{self.folder}' is distilled to few steps by MeanFlow: only other models are supported."
            )
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.text_encoder_2 = self.read_text_encoder("text_encoder_2")
        self.tokenizer, self.tokenizer_2 = (read_tokenizer(self.folder, f"tokenizer{end}") for end in ("", "_2"))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts: `embeds[B,L,D]` and mask without the instruction.

        `extras` has the same of the quoted texts: `quoted[B,L2,D2]` and `quoted_mask`.
        """
        import torch
        from diffusers import HunyuanVideo15Pipeline

        with torch.no_grad(), on_device(self.text_encoder, self.device), on_device(self.text_encoder_2, self.device):
            embeds, mask = HunyuanVideo15Pipeline._get_mllm_prompt_embeds(
                self.text_encoder, self.tokenizer, list(prompts), self.device
            )
            quoted, quoted_mask = HunyuanVideo15Pipeline._get_byt5_prompt_embeds(
                self.tokenizer_2, self.text_encoder_2, list(prompts), self.device
            )
        return Conditioning(embeds=embeds, mask=mask, extras={"quoted": quoted, "quoted_mask": quoted_mask})

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        config = self.vae.config
        strides = (config.temporal_compression_ratio, config.spatial_compression_ratio)
        multiple = config.spatial_compression_ratio * self.network.config.patch_size
        return self.noise(request, generators, channels=config.latent_channels, strides=strides, multiple=multiple)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`."""
        import torch

        assert conditioning.extras and conditioning.mask is not None
        noisy = latents.to(conditioning.embeds.dtype)
        given, seen = self._given(noisy, conditioning.extras)
        return self.network(
            hidden_states=torch.cat([noisy, given], dim=1),
            timestep=flow_timesteps(self.scheduler_config, sigma).to(noisy.dtype),  # the network computes in its dtype
            encoder_hidden_states=conditioning.embeds,
            encoder_attention_mask=conditioning.mask,
            encoder_hidden_states_2=conditioning.extras["quoted"],
            encoder_attention_mask_2=conditioning.extras["quoted_mask"],
            image_embeds=seen,
            return_dict=False,
        )[0].float()

    def _given(self, noisy: "Tensor", extras: "Mapping[str, Any]") -> "tuple[Tensor, Tensor]":
        """Return the given clip with its mask `[B,C+1,t,h,w]`, and the picture's embeddings `[B,L,D]`.

        The pipeline's 729 tokens of zeros for a missing picture are masked out: none are the same.
        """
        shape = (len(noisy), noisy.shape[1] + 1, *noisy.shape[2:])
        return noisy.new_zeros(shape), noisy.new_zeros(len(noisy), 0, self.network.config.image_embed_dim)

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        """Decode one clip after another, so that memory stays that of one clip."""
        return decode_rows(self.vae, latents / self.vae.config.scaling_factor)

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        pixels = from_pixels(frames, self.device, self.vae.dtype)
        return encode_rows(self.vae, pixels) * self.vae.config.scaling_factor


class HunyuanVideo15ImageFamily(HunyuanVideo15Family):
    """A HunyuanVideo-1.5 model that generates a clip from its first picture."""

    spec: ClassVar[FamilySpec] = replace(
        HunyuanVideo15Family.spec,
        key="hunyuanvideo15_i2v",
        title="HunyuanVideo-1.5 image-to-video",
        native_conditioning=("image",),
    )
    parts: ClassVar[Mapping[str, Classes]] = {**HunyuanVideo15Family.parts, "image_encoder": "SiglipVisionModel"}
    optional_parts: ClassVar[tuple[str, ...]] = ("tokenizer_2", "feature_extractor")

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        self.image_encoder = self.read_text_encoder("image_encoder")
        self.image_processor = read_image_processor(self.folder, "feature_extractor")

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return `shown[B,C,h,w]`, the latents of the first picture, and `seen[B,L,D]`, its embeddings by SigLIP."""
        import torch

        if list(places) != [0]:
            raise FamilyError(f"{self.spec.title} takes a picture at the first frame, not at {list(places)}.")
        inputs = self.image_processor(images=list(pictures[:, 0]), return_tensors="pt")
        with torch.no_grad(), on_device(self.image_encoder, self.device):
            pixels = inputs.pixel_values.to(self.device, self.image_encoder.dtype)
            seen = self.image_encoder(pixel_values=pixels).last_hidden_state
        return {"shown": self.encode_frames(pictures)[:, :, 0], "seen": seen}

    def _given(self, noisy: "Tensor", extras: "Mapping[str, Any]") -> "tuple[Tensor, Tensor]":
        if "shown" not in extras:
            raise FamilyError(f"{self.spec.title} generates only from a first picture: give it with the prompt.")
        given, _ = super()._given(noisy, extras)
        given[:, :-1, 0] = extras["shown"].to(noisy)
        given[:, -1, 0] = 1
        return given, extras["seen"].to(noisy)
