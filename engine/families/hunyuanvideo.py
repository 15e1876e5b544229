"""HunyuanVideo and HunyuanVideo-1.5.

The VAEs are causal, with four frames per latent after the first, so clips have 4k+1 frames. The networks predict a
flow's velocity. A language model encodes prompts inside a fixed instruction.

hunyuanvideo        distilled: the network takes the guidance as an input instead of running twice. CLIP encodes prompts
                    as one pooled vector.
hunyuanvideo15      a latent has 16 px. The network takes a given clip as further channels, with a mask of the given
                    latents, and a picture's embeddings as further tokens: here both are empty. ByT5 encodes the texts
                    in quotes, which the clip is to show.
hunyuanvideo15_i2v  the given clip is the first picture's latent, zero after it; SigLIP encodes the picture. The first
                    latent frame is generated from it, like the others.

Sources: Tencent, HunyuanVideo (arXiv:2412.03603) and HunyuanVideo 1.5 (arXiv:2511.18870), through diffusers' classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device, read_image_processor
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 256  # text tokens after the instruction, as in HunyuanVideoPipeline
LAYERS_SKIPPED = 2  # last layers of the language model


class HunyuanVideoFamily(DiffusersFamily):
    """A HunyuanVideo model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="hunyuanvideo",
        title="HunyuanVideo",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.HUNYUAN_VIDEO,
        block_classes=(
            "HunyuanVideoTransformerBlock",
            "HunyuanVideoSingleTransformerBlock",
            "HunyuanVideoIndividualTokenRefinerBlock",
        ),
        text_tokens=MAX_TOKENS,
        embedded_guidance=True,
        licence="Tencent Hunyuan community licence (not for use in the EU, the UK and South Korea)",
        source="arXiv:2412.03603",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "HunyuanVideoTransformer3DModel",
        "vae": "AutoencoderKLHunyuanVideo",
        "text_encoder": "LlamaModel",
        "text_encoder_2": "CLIPTextModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }

    optional_parts: ClassVar[tuple[str, ...]] = ("tokenizer_2",)

    def check_network(self) -> None:
        if self.network.config.image_condition_type is not None:
            raise FamilyError(f"'{self.folder}' is an image-to-video HunyuanVideo: this family takes text only.")

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts: `embeds[B,L,D]` and mask without the instruction, `extras["pooled"][B,D2]` of CLIP."""
        import torch
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

        start = DEFAULT_PROMPT_TEMPLATE["crop_start"]
        instructions = [DEFAULT_PROMPT_TEMPLATE["template"].format(prompt) for prompt in prompts]
        fill = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer(instructions, max_length=start + MAX_TOKENS, **fill).to(self.device)
        clip_tokens = self.tokenizer_2(list(prompts), max_length=77, **fill).to(self.device)
        with torch.no_grad(), on_device(self.text_encoder, self.device), on_device(self.text_encoder_2, self.device):
            states = self.text_encoder(tokens.input_ids, tokens.attention_mask, output_hidden_states=True)
            pooled = self.text_encoder_2(clip_tokens.input_ids).pooler_output
        embeds = states.hidden_states[-(LAYERS_SKIPPED + 1)]
        return Conditioning(embeds=embeds[:, start:], mask=tokens.attention_mask[:, start:], extras={"pooled": pooled})

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]` with the conditioning's guidance."""
        assert conditioning.guidance is not None, "the network needs the guidance: set Conditioning.guidance"
        assert conditioning.extras and conditioning.mask is not None
        dtype = conditioning.embeds.dtype
        return self.network(
            hidden_states=latents.to(dtype),
            timestep=flow_timesteps(self.scheduler_config, sigma),
            encoder_hidden_states=conditioning.embeds,
            encoder_attention_mask=conditioning.mask.to(dtype),
            pooled_projections=conditioning.extras["pooled"],
            guidance=latents.new_full((len(latents),), 1000 * conditioning.guidance, dtype=dtype),
            return_dict=False,
        )[0].float()


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

    def check_network(self) -> None:
        if self.network.config.use_meanflow:
            raise FamilyError(
                f"'{self.folder}' is distilled to few steps by MeanFlow: only other models are supported."
            )

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
        stride, size = self.strides
        multiple, channels = size * self.network.config.patch_size, self.vae.config.latent_channels
        return self.noise(request, generators, channels=channels, strides=(stride, size), multiple=multiple)

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


class HunyuanVideo15ImageFamily(HunyuanVideo15Family):
    """A HunyuanVideo-1.5 model that generates a clip from its first picture."""

    spec: ClassVar[FamilySpec] = replace(
        HunyuanVideo15Family.spec,
        key="hunyuanvideo15_i2v",
        title="HunyuanVideo-1.5 image-to-video",
        native_conditioning=("first_image_required",),
    )
    parts: ClassVar[Mapping[str, Classes]] = {**HunyuanVideo15Family.parts, "image_encoder": "SiglipVisionModel"}
    optional_parts: ClassVar[tuple[str, ...]] = ("tokenizer_2", "feature_extractor")

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        self.image_encoder = self.read_text_encoder("image_encoder")
        self.image_processor = read_image_processor(self.folder, "feature_extractor")

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return the first picture's latents `shown[B,C,h,w]` and its embeddings by SigLIP `seen[B,L,D]`."""
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
