"""AnimateDiff: Stable Diffusion 1.5 with a motion adapter between its layers.

Every frame has its own latent, so a clip may have any number of frames up to the adapter's position table (32 of the
original, 64 of LongAnimateDiff). The network predicts noise at the timesteps of a noise table; stepped by DDIM. The
adapter is a part with a source of its own (a folder, a hub id, or one safetensors file in either), unless the folder
holds a network that is merged already.
Source: Guo et al., AnimateDiff (arXiv:2307.04725), through diffusers' classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import Conditioning, FamilySpec
from engine.families.loading import (
    Classes,
    DiffusersFamily,
    find_file,
    find_folder,
    from_pixels,
    move,
    read_network,
    read_tokenizer,
    resident,
    to_pixels,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.generation.request import GenerationRequest

DECODED_TOGETHER = 16  # frames that the VAE takes at once


class AnimateDiffFamily(DiffusersFamily):
    """`source` is a Stable Diffusion 1.5 folder or hub id, the option `parts["motion_adapter"]` the adapter's."""

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="animatediff",
        title="AnimateDiff",
        prediction="epsilon",
        frame_stride=1,
        frame_offset=0,
        size_multiple=8,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        text_tokens=77,
        licence="Stable Diffusion 1.5 CreativeML OpenRAIL-M; AnimateDiff's adapters Apache-2.0",
        source="arXiv:2307.04725",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "unet": ("UNet2DConditionModel", "UNetMotionModel"),
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "scheduler": ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"),
    }

    def load(self, device: str, dtype: "torch.dtype") -> None:
        from engine.sampling.schedule import noise_table

        self.open_folder(device, dtype)
        self.table = noise_table(self.scheduler_config).to(device)
        self.network = self._read_unet()
        self.vae = self.read_vae()
        self.text_encoder = self.read_text_encoder()
        self.tokenizer = read_tokenizer(self.folder)

    def _read_unet(self) -> Any:
        """The denoiser with its motion layers, put together from the two sources where it comes in two."""
        from diffusers import UNet2DConditionModel, UNetMotionModel

        unet = self.read("unet", device="cpu")
        if isinstance(unet, UNet2DConditionModel):
            try:
                unet = UNetMotionModel.from_unet2d(unet, self._read_motion_adapter()).to(self.dtype)
            except (ValueError, RuntimeError) as error:
                why = " ".join(str(error).split())[:200]
                raise FamilyError(
                    f"The motion adapter does not fit '{self.folder}' ({why}): choose another."
                ) from error
        return move(unet.requires_grad_(False).eval(), self.device, f"{self.folder}/unet")

    def _read_motion_adapter(self) -> Any:
        from diffusers import MotionAdapter

        source = self.options.parts.get("motion_adapter")
        if source is None:
            raise FamilyError(
                f"'{self.folder}' makes single pictures: name a motion adapter in the preset, as "
                "parts = {motion_adapter = 'owner/name'}."
            )
        if not source.endswith(".safetensors"):
            folder = find_folder(source, [], files=["config.json", "*.safetensors"])
            return read_network(MotionAdapter, folder, ".", "cpu", self.dtype)
        return _adapter_from_file(find_file(source))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """`embeds[B,L,D]`; CLIP reads at most 77 tokens, padding included."""
        import torch

        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad(), resident(self.text_encoder, self.device):
            return Conditioning(embeds=self.text_encoder(tokens.input_ids.to(self.device))[0])

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        longest = self.network.config.motion_max_seq_length
        if request.num_frames > longest:
            raise FamilyError(
                f"This motion adapter knows clips of at most {longest} frames, but the request has "
                f"{request.num_frames}: ask for fewer, or use mode 'windows'."
            )
        size = int(2 ** (len(self.vae.config.block_out_channels) - 1))
        return self.noise(
            request, generators, channels=self.network.config.in_channels, strides=(1, size), multiple=size
        )

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Noise, at the timestep whose noise level is nearest to `sigma[B]`."""
        from engine.sampling.schedule import nearest_timesteps

        return self.network(
            latents.to(conditioning.embeds.dtype),
            nearest_timesteps(self.table, sigma),
            encoder_hidden_states=conditioning.embeds.repeat_interleave(latents.shape[2], dim=0),
        ).sample.float()

    def decode(self, latents: "Tensor") -> "np.ndarray":
        import torch

        frames = (latents / self.vae.config.scaling_factor).transpose(1, 2).flatten(0, 1).to(self.vae.dtype)
        with torch.no_grad():
            pixels = torch.cat([self.vae.decode(some).sample for some in frames.split(DECODED_TOGETHER)])
        return to_pixels(pixels.unflatten(0, (len(latents), -1)).transpose(1, 2))

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        pixels = from_pixels(frames, self.device, self.vae.dtype).transpose(1, 2).flatten(0, 1)
        with torch.no_grad():
            rows = [self.vae.encode(some).latent_dist.mode() for some in pixels.split(DECODED_TOGETHER)]
        latents = torch.cat(rows).float() * self.vae.config.scaling_factor
        return latents.unflatten(0, (len(frames), -1)).transpose(1, 2)


def _adapter_from_file(file: Path) -> Any:
    """An adapter of the standard shape with the tensors of one file, as AnimateDiff-Lightning is given out."""
    import torch
    from diffusers import MotionAdapter
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
        with torch.device("meta"):
            adapter = MotionAdapter()
        adapter.load_state_dict(tensors, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise FamilyError(f"'{file}' is no motion adapter that can be read ({why}): download it again.") from error
    return adapter
