"""Kandinsky 5, text to video: the Lite models of 5 s, with whole attention.

The VAE is that of HunyuanVideo: causal, with four frames per latent after the first, so clips have 4k+1 frames. The
network predicts a flow's velocity. A language model encodes prompts inside a fixed instruction, and CLIP as one pooled
vector. The network has no mask for padding, so clips whose prompts differ in length are predicted one after another. It
could take a given clip, which is empty here.
Source: Kandinsky Lab, Kandinsky 5.0 (arXiv:2511.14993), through diffusers' classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device, read_tokenizer
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 512  # text tokens after the instruction, as in Kandinsky5T2VPipeline
MIDDLE_PX = (480, 854)  # sides for which that pipeline scales positions by 2, else by 3.16


class Kandinsky5Family(DiffusersFamily):
    """A Kandinsky 5 model: `source` is a diffusers folder or hub id; call `load` first."""

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
        text_tokens=MAX_TOKENS,
        passes_by_prompt=True,
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
    optional_parts: ClassVar[tuple[str, ...]] = ("tokenizer_2",)

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        self.tokenizer = read_tokenizer(self.folder, kind="AutoProcessor")

    def check_folder(self) -> None:
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}

    def check_network(self) -> None:
        if self.network.config.attention_type != "regular":
            raise FamilyError(
                f"'{self.folder}' attends sparsely ('{self.network.config.attention_type}'), which is not supported: "
                "use a Lite model of 5 s."
            )

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
                embeds, pooled, _ = pipeline.encode_prompt(prompt, max_sequence_length=MAX_TOKENS, device=self.device)
                missing = MAX_TOKENS - embeds.shape[1]
                mask = pad(torch.ones_like(embeds[:, :, 0], dtype=torch.bool), (0, missing))
                padded = pad(embeds, (0, 0, 0, missing))
                rows.append(Conditioning(embeds=padded, mask=mask, extras={"pooled": pooled}))
        encoded = rows[0]
        for row in rows[1:]:
            encoded = encoded.concat(row)
        return encoded

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        channels, multiple = self.network.config.in_visual_dim, self.strides[1] * self.network.config.patch_size[1]
        return self.noise(request, generators, channels=channels, strides=self.strides, multiple=multiple)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`: together for clips whose prompts have as many tokens."""
        import torch

        assert conditioning.mask is not None
        if bool(conditioning.mask.all()):
            return self._velocity(latents, sigma, conditioning, conditioning.mask.shape[1])
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
        size, patch = self.strides[1], self.network.config.patch_size
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
