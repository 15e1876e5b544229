"""Wan 2.1 and 2.2, with and without given pictures.

Text only (`wan`), first picture (`wan_ti2v`, `wan_i2v`), first and last (`wan_flf`), any of them (`wan_vace`). The VAE
is causal, with four frames per latent after the first, so clips have 4k+1 frames. The network predicts a flow's
velocity. Wan 2.2's large models have two experts, one above the noise level `boundary_ratio` and one below; its 5B
model takes a noise level for each token. The folder's UniPC scheduler defines the levels; Dailies uses Euler steps.

wan_ti2v   Wan 2.2 5B; a first picture is the first latent frame, which stays clean, with level 0 for its tokens.
wan_flf    a clip of both pictures, grey in between, is encoded and concatenated to the latents as additional channels,
           with a mask of the given frames; Wan 2.1's network also takes both pictures encoded by CLIP.
wan_i2v    the same with the first picture alone.
wan_vace   the same clip, with its own mask, is the input of a second network; without pictures the clip is grey.
skyreels_v2  text only, for SkyReels-V2's models of whole clips (not for those of diffusion forcing).

Sources: Wan team, Alibaba (arXiv:2503.20314); VACE (arXiv:2503.07598); SkyReels-V2
(arXiv:2504.13074); through diffusers' Wan classes.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import Classes, on_device, read_image_processor, read_json
from engine.families.two_experts import two_experts
from engine.families.vae import NormalisedLatents, from_pixels
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.given_frame import predict_with_first
from engine.sampling.schedules import flow_timesteps

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

MAX_TOKENS = 512  # text tokens, as in WanPipeline


class WanFamily(NormalisedLatents, DiffusersFamily):
    """A Wan model: `source` is a diffusers folder or hub id; call `load` first."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="wan",
        title="Wan",
        prediction="flow",
        frame_stride=4,
        frame_offset=1,
        size_multiple=16,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        layer_names=layer_names.WAN,
        block_classes=("WanTransformerBlock", "WanVACETransformerBlock"),
        text_tokens=MAX_TOKENS,
        licence="Apache-2.0",
        source="arXiv:2503.20314",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "transformer": "WanTransformer3DModel",
        "vae": "AutoencoderKLWan",
        "text_encoder": "UMT5EncoderModel",
        "scheduler": ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    }

    optional_parts: ClassVar[tuple[str, ...]] = ("transformer_2",)

    def check_folder(self) -> None:
        self.scheduler_config = {**self.scheduler_config, "_grid": "own"}
        self.text_key += " ftfy"  # rows cached before prompts were cleaned with ftfy must not be reused
        self.index = read_json(self.folder / "model_index.json")
        self.level_per_token = bool(self.index.get("expand_timesteps"))
        self._check_kind()

    def read_denoiser(self) -> Any:
        """Return the network, or both experts as one."""
        network, boundary = super().read_denoiser(), self.index.get("boundary_ratio")
        return network if boundary is None else two_experts()(network, self.read("transformer_2"), boundary * 1000)

    def read_vae(self, dtype: "torch.dtype | None" = None) -> Any:
        """Return the VAE in float32 regardless of the model's dtype, as in its authors' code."""
        import torch

        return super().read_vae(torch.float32)

    def _check_kind(self) -> None:
        """Raise FamilyError for another kind of Wan model, detected by its number of input channels."""
        network, vae = (read_json(self.folder / part / "config.json") for part in ("transformer", "vae"))
        actual, expected = network.get("in_channels", 16), vae.get("z_dim", 16) + self._extra_channels(vae)
        if actual != expected:
            raise FamilyError(
                f"'{self.folder}' is a Wan model of another kind: its network takes {actual} channels, that of "
                f"{self.spec.title} {expected}. Correct `family` in the preset."
            )

    def _extra_channels(self, vae: Mapping[str, Any]) -> int:
        """Return the number of input channels in addition to the latents', given the VAE's configuration."""
        return 0

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]`, zero after a prompt's last token; longer prompts are cut."""
        import torch

        tokens = self.tokenizer(
            [_clean(prompt) for prompt in prompts],
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            embeds = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return Conditioning(embeds=embeds * tokens.attention_mask[:, :, None].to(embeds))

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        size, config = self.vae.config.scale_factor_spatial, self.network.config
        strides = (self.vae.config.scale_factor_temporal, size)
        multiple = size * config.patch_size[1]
        return self.noise(request, generators, channels=self.vae.config.z_dim, strides=strides, multiple=multiple)

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`; models with a level per token take `sigma[B,t]` (0 = given)."""
        timestep = flow_timesteps(self.scheduler_config, sigma)
        if self.level_per_token:
            _, _, t, h, w = latents.shape
            patches = (h // self.network.config.patch_size[1]) * (w // self.network.config.patch_size[2])
            frames = timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, t)
            timestep = frames.repeat_interleave(patches, dim=1)
        return self.network(
            **self._inputs(latents.to(conditioning.embeds.dtype), conditioning),
            timestep=timestep,
            encoder_hidden_states=conditioning.embeds,
            return_dict=False,
        )[0].float()

    def _inputs(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        """Return the network's inputs: the latents, and in subclasses the given pictures."""
        return {"hidden_states": latents}

    def _clip_of(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "Tensor":
        """Return a clip `[B,3,T,H,W]` with pictures `uint8[B,N,H,W,3]` at the frames `places`, grey elsewhere."""
        pixels = from_pixels(pictures, self.device, self.vae.dtype)
        clip = pixels.new_zeros(*pixels.shape[:2], num_frames, *pixels.shape[3:])
        clip[:, :, list(places)] = pixels
        return clip


class WanTextImageFamily(WanFamily):
    """Wan 2.2 TI2V: clips from text, or from text and a first picture."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec, key="wan_ti2v", title="Wan 2.2 text-and-image", native_conditioning=("first_image_optional",)
    )

    def _check_kind(self) -> None:
        super()._check_kind()
        if not self.level_per_token:
            raise FamilyError(f"'{self.folder}' has no noise level for each token: correct `family` in the preset.")

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the velocity at `sigma[B]`, or `[B,t]` (0 = given); a given first frame stays clean."""
        return predict_with_first(super().predict, latents, sigma, conditioning)

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return `first[B,C,h,w]`, the latents of a picture at the first frame."""
        if list(places) != [0]:
            raise FamilyError(f"{self.spec.title} takes a picture at the first frame, not at {list(places)}.")
        return {"first": self.encode_frames(pictures)[:, :, 0]}


class WanFirstLastFamily(WanFamily):
    """A Wan model that generates the frames between a first and a last picture."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec, key="wan_flf", title="Wan first-last-frame", native_conditioning=("first_last_required",)
    )
    num_pictures: ClassVar[int] = 2
    optional_parts: ClassVar[tuple[str, ...]] = ("transformer_2", "image_encoder", "image_processor")

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        self.image_encoder: Any = None
        if self.network.config.image_dim is not None:
            self.image_encoder = self.read_text_encoder("image_encoder")
            self.image_processor = read_image_processor(self.folder)

    def _check_kind(self) -> None:
        super()._check_kind()
        network = read_json(self.folder / "transformer" / "config.json")
        if self.level_per_token or (network.get("image_dim") and not network.get("pos_embed_seq_len")):
            raise FamilyError(f"'{self.folder}' takes a first picture only, but {self.spec.title} also a last one.")

    def _extra_channels(self, vae: Mapping[str, Any]) -> int:
        """Return the channels of the given clip and of the mask for each frame in a latent."""
        return int(vae.get("z_dim", 16) + vae.get("scale_factor_temporal", 4))

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return `shown[B,C,t,h,w]`, mask and given clip, and `ends[B,L,D]`, both pictures encoded by CLIP."""
        import torch

        taken = [0, num_frames - 1][: self.num_pictures]
        if list(places) != taken:
            raise FamilyError(f"{self.spec.title} takes pictures at the frames {taken}, not at {list(places)}.")
        clip = self.encode_video(self._clip_of(pictures, places, num_frames))
        shown = {"shown": torch.cat([self._mask(clip), clip], dim=1)}
        return shown if self.image_encoder is None else {**shown, "ends": self._clip_embedding(pictures)}

    def _mask(self, clip: "Tensor") -> "Tensor":
        """Return the mask, 1 where a frame is given, with a channel for each frame in a latent.

        The first latent covers one frame, repeated in all channels.
        """
        stride = self.vae.config.scale_factor_temporal
        mask = clip.new_zeros(len(clip), stride, *clip.shape[2:])
        mask[:, :, 0] = 1
        if self.num_pictures > 1:
            mask[:, -1, -1] = 1
        return mask

    def _clip_embedding(self, pictures: "np.ndarray") -> "Tensor":
        import torch

        inputs = self.image_processor(images=list(pictures.reshape(-1, *pictures.shape[2:])), return_tensors="pt")
        with torch.no_grad(), on_device(self.image_encoder, self.device):
            pixels = inputs.pixel_values.to(self.device, self.image_encoder.dtype)
            states = self.image_encoder(pixels, output_hidden_states=True).hidden_states[-2]
        return states.unflatten(0, pictures.shape[:2]).flatten(1, 2)

    def _inputs(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        import torch

        extras = conditioning.extras or {}
        if "shown" not in extras:
            raise FamilyError(f"{self.spec.title} generates only from given pictures: give them with the prompt.")
        inputs = {"hidden_states": torch.cat([latents, extras["shown"].to(latents)], dim=1)}
        if "ends" in extras:
            seen = extras["ends"].to(latents).unflatten(1, (self.num_pictures, -1))
            inputs["encoder_hidden_states_image"] = seen.flatten(0, 1)
        return inputs


class WanImageFamily(WanFirstLastFamily):
    """A Wan model that generates the frames after a first picture."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec, key="wan_i2v", title="Wan image-to-video", native_conditioning=("first_image_required",)
    )
    num_pictures: ClassVar[int] = 1

    def _check_kind(self) -> None:
        WanFamily._check_kind(self)
        if read_json(self.folder / "transformer" / "config.json").get("pos_embed_seq_len"):
            raise FamilyError(f"'{self.folder}' also takes a last picture: set family = 'wan_flf' in the preset.")


class WanVACEFamily(WanFamily):
    """A Wan model with VACE: pictures may be given at any frames, or none."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec,
        key="wan_vace",
        title="Wan VACE",
        native_conditioning=("image_keyframes",),
        source="arXiv:2503.07598",
    )
    parts: ClassVar[Mapping[str, Classes]] = {**WanFamily.parts, "transformer": "WanVACETransformer3DModel"}
    empty_control: "Tensor | None" = None

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return `control[B,C,t,h,w]`: given pictures' clip, the clip to be changed (grey), and mask."""
        import torch

        clip = self._clip_of(pictures, places, num_frames)
        given_latents, grey_latents = self.encode_video(clip), self.encode_video(torch.zeros_like(clip[:1]))
        is_free = torch.ones(num_frames, device=given_latents.device)
        is_free[list(places)] = 0
        nearest = ((torch.arange(given_latents.shape[2]) + 0.5) * num_frames / given_latents.shape[2]).long()
        pixels_per_latent = self.vae.config.scale_factor_spatial**2
        mask = is_free[nearest][:, None, None].expand(len(given_latents), pixels_per_latent, *given_latents.shape[2:])
        return {"control": torch.cat([given_latents, grey_latents.expand_as(given_latents), mask], dim=1)}

    def _inputs(self, latents: "Tensor", conditioning: Conditioning) -> "dict[str, Tensor]":
        control = (conditioning.extras or {}).get("control")
        if control is None:
            control = self._control_without_pictures(latents).expand(len(latents), -1, -1, -1, -1)
        return {"hidden_states": latents, "control_hidden_states": control.to(latents)}

    def _control_without_pictures(self, latents: "Tensor") -> "Tensor":
        """Return the control of a clip without given pictures, computed once per shape."""
        import numpy as np

        t, h, w = latents.shape[2:]
        if self.empty_control is None or self.empty_control.shape[2:] != latents.shape[2:]:
            num_frames, size = (t - 1) * self.vae.config.scale_factor_temporal + 1, self.vae.config.scale_factor_spatial
            no_pictures = np.empty((1, 0, h * size, w * size, 3), np.uint8)
            self.empty_control = self.encode_pictures(no_pictures, (), num_frames)["control"]
        return self.empty_control


class SkyReelsFamily(WanFamily):
    """SkyReels-V2, text to video: Wan's network, trained further, under classes of its own."""

    spec: ClassVar[FamilySpec] = replace(
        WanFamily.spec,
        key="skyreels_v2",
        title="SkyReels-V2",
        block_classes=("SkyReelsV2TransformerBlock",),
        licence="Skywork licence",
        source="arXiv:2504.13074",
    )
    parts: ClassVar[Mapping[str, Classes]] = {**WanFamily.parts, "transformer": "SkyReelsV2Transformer3DModel"}

    def _check_kind(self) -> None:
        super()._check_kind()
        pipeline = read_json(self.folder / "model_index.json").get("_class_name")
        if pipeline != "SkyReelsV2Pipeline":
            raise FamilyError(
                f"'{self.folder}' is made for {pipeline}, whose frames have noise levels of their own in an order that "
                "Dailies does not know: name a text-to-video model of SkyReels-V2."
            )


def _clean(prompt: str) -> str:
    """Clean the prompt like WanPipeline.

    Applies ftfy (mojibake, curly quotes, full-width letters), decodes HTML entities and collapses white space.
    """
    import ftfy

    unescaped = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", unescaped).strip()
