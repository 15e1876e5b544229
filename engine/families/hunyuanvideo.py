"""HunyuanVideo, and Kandinsky 5, which has its VAE; both from text to video.

The VAE is causal, with four frames per latent after the first, so clips have 4k+1 frames. The networks predict a flow's
velocity. A language model encodes prompts inside a fixed instruction, and CLIP encodes them as one pooled vector.

hunyuanvideo  guidance-distilled: the network takes the guidance as an input instead of running twice.
kandinsky5    the Lite models of 5 s, with whole attention. The network has no mask for padding, so clips whose prompts
              differ in length are predicted one after another. It could take a given clip, which is empty here.

Sources: Tencent, HunyuanVideo (arXiv:2412.03603); Kandinsky Lab, Kandinsky 5.0 (arXiv:2511.14993); through diffusers'
classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from engine.errors import FamilyError
from engine.families.exchange import layer_names
from engine.families.loading import Classes, DiffusersFamily, on_device, read_processor, read_tokenizer
from engine.families.vae import decode_rows, encode_rows, from_pixels
from engine.model_spec import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 256  # text tokens after the instruction, as in HunyuanVideoPipeline
LAYERS_SKIPPED = 2  # last layers of the language model
KANDINSKY_TOKENS = 512  # after the instruction, as in Kandinsky5T2VPipeline
MIDDLE_PX = (480, 854)  # sides for which that pipeline scales positions by 2, else by 3.16


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

    def load(self, device: str, dtype: "torch.dtype") -> None:
        self.open_folder(device, dtype)
        self.network = self.read("transformer")
        if self.network.config.image_condition_type is not None:
            raise FamilyError(f"'{self.folder}' is an image-to-video HunyuanVideo: this family takes text only.")
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.text_encoder_2 = self.read_text_encoder("text_encoder_2")
        self.tokenizer, self.tokenizer_2 = (read_tokenizer(self.folder, f"tokenizer{end}") for end in ("", "_2"))

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

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size, config = self.vae.spatial_compression_ratio, self.network.config
        strides = (self.vae.temporal_compression_ratio, size)
        multiple = size * config.patch_size
        return self.noise(request, generators, channels=config.in_channels, strides=strides, multiple=multiple)

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

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        """Decode one clip after another, so that memory stays that of one clip."""
        return decode_rows(self.vae, latents / self.vae.config.scaling_factor)

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        pixels = from_pixels(frames, self.device, self.vae.dtype)
        return encode_rows(self.vae, pixels) * self.vae.config.scaling_factor


class Kandinsky5Family(HunyuanVideoFamily):
    """A Kandinsky 5 model from text: HunyuanVideo's VAE under another network."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="kandinsky5",
        title="Kandinsky 5",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_query", "to_key", "to_value", "self_attention.out_layer", "cross_attention.out_layer"),
        layer_names=layer_names.KANDINSKY_5,
        block_classes=("Kandinsky5TransformerDecoderBlock", "Kandinsky5TransformerEncoderBlock"),
        text_tokens=KANDINSKY_TOKENS,
        licence="MIT",
        source="arXiv:2511.14993",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "Kandinsky5Transformer3DModel",
        "vae": "AutoencoderKLHunyuanVideo",
        "text_encoder": "Qwen2_5_VLForConditionalGeneration",
        "text_encoder_2": "CLIPTextModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }

    def load(self, device: str, dtype: "torch.dtype") -> None:
        self.open_folder(device, dtype)
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}
        self.network = self.read("transformer")
        if self.network.config.attention_type != "regular":
            raise FamilyError(
                f"'{self.folder}' attends sparsely ('{self.network.config.attention_type}'), which is not supported: "
                "use a Lite model of 5 s."
            )
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.text_encoder_2 = self.read_text_encoder("text_encoder_2")
        self.tokenizer, self.tokenizer_2 = read_processor(self.folder), read_tokenizer(self.folder, "tokenizer_2")

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts: `embeds[B,L,D]` and mask without the instruction, `extras["pooled"][B,D2]` of CLIP."""
        import torch
        from diffusers import Kandinsky5T2VPipeline
        from torch.nn.functional import pad

        texts = {name: getattr(self, name) for name in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")}
        pipeline = Kandinsky5T2VPipeline(transformer=None, vae=None, scheduler=None, **texts)
        rows = []
        with torch.no_grad(), on_device(self.text_encoder, self.device), on_device(self.text_encoder_2, self.device):
            for prompt in prompts:  # the language model has no mask for padding either
                embeds, pooled, _ = pipeline.encode_prompt(
                    prompt, max_sequence_length=KANDINSKY_TOKENS, device=self.device
                )
                missing = KANDINSKY_TOKENS - embeds.shape[1]
                mask = pad(torch.ones_like(embeds[:, :, 0], dtype=torch.bool), (0, missing))
                padded = pad(embeds, (0, 0, 0, missing))
                rows.append(Conditioning(embeds=padded, mask=mask, extras={"pooled": pooled}))
        encoded = rows[0]
        for row in rows[1:]:
            encoded = encoded.concat(row)
        return encoded

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size, config = self.vae.spatial_compression_ratio, self.network.config
        strides = (self.vae.temporal_compression_ratio, size)
        return self.noise(
            request, generators, channels=config.in_visual_dim, strides=strides, multiple=size * config.patch_size[1]
        )

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`: together for clips whose prompts have as many tokens."""
        import torch

        assert conditioning.mask is not None
        if bool(conditioning.mask.all()):
            return self._velocity(latents, sigma, conditioning, KANDINSKY_TOKENS)
        lengths = conditioning.mask.sum(dim=1)
        velocity = torch.empty_like(latents, dtype=torch.float32)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0]
            velocity[rows] = self._velocity(latents[rows], sigma[rows], conditioning.rows(rows), length)
        return velocity

    def _velocity(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning, length: int) -> "Tensor":
        import torch

        assert conditioning.extras
        dtype, (t, h, w) = conditioning.embeds.dtype, latents.shape[2:]
        noisy = latents.to(dtype).movedim(1, -1)
        if self.network.config.visual_cond:
            noisy = torch.cat([noisy, torch.zeros_like(noisy), torch.zeros_like(noisy[..., :1])], dim=-1)
        size, patch = self.vae.spatial_compression_ratio, self.network.config.patch_size
        is_middle = all(MIDDLE_PX[0] <= side * size <= MIDDLE_PX[1] for side in (h, w))
        predicted: Tensor = self.network(
            hidden_states=noisy,
            encoder_hidden_states=conditioning.embeds[:, :length],
            pooled_projections=conditioning.extras["pooled"].to(dtype),
            timestep=flow_timesteps(self.scheduler_config, sigma).to(dtype),
            visual_rope_pos=[torch.arange(n, device=noisy.device) for n in (t, h // patch[1], w // patch[2])],
            text_rope_pos=torch.arange(length, device=noisy.device),
            scale_factor=(1, 2, 2) if is_middle else (1, 3.16, 3.16),
            return_dict=False,
        )
        return predicted.movedim(-1, 1).float()  # a tensor, not a tuple
