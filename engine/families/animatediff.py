"""AnimateDiff: Stable Diffusion 1.5 with a motion adapter between its layers.

With SparseCtrl, pictures at any frames.

Every frame has its own latent, so a clip may have any number of frames up to the length of the adapter's position table
(32 for the original, 64 for LongAnimateDiff). FreeNoise allows longer clips: the motion layers process windows of the
clip, and its noise repeats in shuffled order. The network predicts noise at the timesteps of a noise table, and
sampling uses DDIM. The adapter is a part with its own source (a folder, a hub id, or one safetensors file in either),
unless the folder contains a merged network; the same holds for SparseCtrl's network.
Sources: Guo et al., AnimateDiff (arXiv:2307.04725) and SparseCtrl (arXiv:2311.16933); Qiu et al., FreeNoise
(arXiv:2310.15169); through diffusers' classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError
from engine.families.base import DiffusersFamily
from engine.families.exchange import layer_names
from engine.families.loading import (
    Classes,
    find_file,
    move,
    on_device,
    read_network,
)
from engine.families.vae import finite_latents, from_pixels
from engine.family_interface import Conditioning, FamilySpec
from engine.sampling.schedules import nearest_timesteps, training_sigmas

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

VAE_BATCH_FRAMES = 16  # frames that the VAE processes at once


class AnimateDiffFamily(DiffusersFamily):
    """An AnimateDiff model: `source` is a Stable Diffusion 1.5 folder or hub id.

    The option `parts["motion_adapter"]` is the adapter's source.
    """

    spec: ClassVar[FamilySpec] = FamilySpec(
        key="animatediff",
        title="AnimateDiff",
        prediction="epsilon",
        frame_stride=1,
        frame_offset=0,
        size_multiple=8,
        lora_targets=("to_q", "to_k", "to_v", "to_out.0"),
        network_part="unet",
        layer_names=layer_names.STABLE_DIFFUSION,
        block_classes=("ResnetBlock2D", "Transformer2DModel", "AnimateDiffTransformer3D"),
        text_tokens=77,
        has_free_noise=True,
        licence="Stable Diffusion 1.5 CreativeML OpenRAIL-M; AnimateDiff's adapters Apache-2.0",
        source="arXiv:2307.04725",
    )
    parts: ClassVar[Mapping[str, Classes]] = {
        "unet": ("UNet2DConditionModel", "UNetMotionModel"),
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "scheduler": ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"),
    }

    def check_folder(self) -> None:
        self.table = training_sigmas(self.scheduler_config).to(self.device)

    def check_network(self) -> None:
        if self.options.context_frames:
            _enable_free_noise(self.network, self.options.context_frames)

    def read_denoiser(self) -> Any:
        """Return the denoiser with its motion layers, combined from two sources if necessary."""
        from diffusers import UNet2DConditionModel, UNetMotionModel

        unet = self._read("unet", None, "cpu")  # stored as a whole, with the motion layers
        if isinstance(unet, UNet2DConditionModel):
            try:
                unet = UNetMotionModel.from_unet2d(unet, self._read_motion_adapter()).to(self.dtype)
            except (ValueError, RuntimeError) as error:
                why = " ".join(str(error).split())[:200]
                raise FamilyError(
                    f"The motion adapter does not fit '{self.folder}' ({why}): choose another."
                ) from error
        unet = unet.requires_grad_(False).eval()
        return self.stored(unet if self.options.offload_blocks else move(unet, self.device, f"{self.folder}/unet"))

    def _read_motion_adapter(self) -> Any:
        from diffusers import MotionAdapter

        source = self.options.parts.get("motion_adapter")
        if source is None:
            raise FamilyError(
                f"'{self.folder}' generates single pictures: name a motion adapter in the preset, as "
                "parts = {motion_adapter = 'owner/name'}."
            )
        if not source.endswith(".safetensors"):
            folder = self.find_network(source)
            return read_network(MotionAdapter, folder, ".", "cpu", self.dtype)
        return _adapter_from_file(find_file(source))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts as `embeds[B,L,D]`; CLIP reads at most 77 tokens, padding included."""
        import torch

        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad(), on_device(self.text_encoder, self.device):
            return Conditioning(embeds=self.text_encoder(tokens.input_ids.to(self.device))[0])

    @property
    def max_frames(self) -> int | None:
        """The number of frames that the motion layers support; None: any number, by FreeNoise."""
        return None if self.options.context_frames else self.network.config.motion_max_seq_length

    def init_latents(self, request: "GenerationRequest", generators: "Sequence[torch.Generator]") -> "Tensor":
        if self.max_frames is not None and request.num_frames > self.max_frames:
            raise FamilyError(
                f"This motion adapter supports clips of at most {self.max_frames} frames, but the request has "
                f"{request.num_frames}: request fewer, or use mode 'windows'."
            )
        size = int(2 ** (len(self.vae.config.block_out_channels) - 1))
        noise = self.noise(
            request, generators, channels=self.network.config.in_channels, strides=(1, size), multiple=size
        )
        if self.options.context_frames:
            for row, generator in zip(noise, generators, strict=True):
                _repeat_shuffled(row, self.options.context_frames, generator)
        return noise

    def predict(self, latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
        """Predict the noise at the timestep whose noise level is nearest to `sigma[B]`."""
        inputs = {
            "sample": latents.to(conditioning.embeds.dtype),
            "timestep": nearest_timesteps(self.table, sigma),
            "encoder_hidden_states": conditioning.embeds.repeat_interleave(latents.shape[2], dim=0),
        }
        return self.network(**inputs, **self._control_inputs(inputs, conditioning)).sample.float()

    def _control_inputs(self, inputs: "Mapping[str, Tensor]", conditioning: Conditioning) -> dict[str, Any]:
        """Return the network's additional inputs from a control network."""
        return {}

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        import torch

        frames = (latents / self.vae.config.scaling_factor).transpose(1, 2).flatten(0, 1).to(self.vae.dtype)
        pixels = torch.cat([self.vae.decode(part).sample for part in frames.split(VAE_BATCH_FRAMES)])
        return pixels.unflatten(0, (len(latents), -1)).transpose(1, 2)

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        import torch

        pixels = from_pixels(frames, self.device, self.vae.dtype).transpose(1, 2).flatten(0, 1)
        with torch.no_grad():
            rows = [self.vae.encode(part).latent_dist.mode() for part in pixels.split(VAE_BATCH_FRAMES)]
        latents = finite_latents(torch.cat(rows)).float() * self.vae.config.scaling_factor
        return latents.unflatten(0, (len(frames), -1)).transpose(1, 2)


class SparseCtrlFamily(AnimateDiffFamily):
    """AnimateDiff with SparseCtrl.

    The option `parts["sparse_control"]` is the source of SparseCtrl's network; by default the folder's "controlnet".
    """

    spec: ClassVar[FamilySpec] = replace(
        AnimateDiffFamily.spec,
        key="animatediff_sparsectrl",
        title="AnimateDiff SparseCtrl",
        native_conditioning=("image_keyframes",),
        has_free_noise=False,
        source="arXiv:2311.16933",
    )

    def load(self, device: str, dtype: "torch.dtype") -> None:
        super().load(device, dtype)
        from diffusers import SparseControlNetModel

        source = self.options.parts.get("sparse_control")
        where = self.find_network(source) if source else self.folder / "controlnet"
        self.control = read_network(SparseControlNetModel, where, ".", device, dtype)
        if not self.control.use_simplified_condition_embedding:
            raise FamilyError(f"'{where}' is a SparseCtrl for scribbles: name one for pictures (rgb).")

    @property
    def max_frames(self) -> int | None:
        """The smaller limit of both networks: FreeNoise does not apply to SparseCtrl's motion layers."""
        return min(self.network.config.motion_max_seq_length, self.control.config.motion_max_seq_length)

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return `control[B,C,t,h,w]`, 0 at frames without a picture, and its mask `is_given[B,1,t,h,w]`."""
        latents = super().encode_pictures(pictures, places, num_frames)["pictures"]
        control = latents.new_zeros(*latents.shape[:2], num_frames, *latents.shape[3:])
        control[:, :, list(places)] = latents
        is_given = control.new_zeros(len(control), 1, *control.shape[2:])
        is_given[:, :, list(places)] = 1
        return {"control": control, "is_given": is_given}

    def _control_inputs(self, inputs: "Mapping[str, Tensor]", conditioning: Conditioning) -> dict[str, Any]:
        """Return SparseCtrl's residuals for the network's layers; none when no picture is given."""
        extras = conditioning.extras or {}
        if "control" not in extras:
            return {}
        down, middle = self.control(
            **inputs,
            controlnet_cond=extras["control"].to(inputs["sample"]),
            conditioning_mask=extras["is_given"].to(inputs["sample"]),
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


@cache
def _free_noise_block() -> Any:
    """Return the class of a motion layer that processes clips longer than its context in windows.

    It is defined here because torch is not imported before a model is opened.
    """
    from diffusers.models.attention import BasicTransformerBlock, FreeNoiseTransformerBlock

    class WindowedBlock(BasicTransformerBlock, FreeNoiseTransformerBlock):
        def forward(self, hidden_states: "Tensor", *others: Any, **named: Any) -> "Tensor":
            is_long = hidden_states.shape[1] > self.context_length
            block_class = FreeNoiseTransformerBlock if is_long else BasicTransformerBlock
            return block_class.forward(self, hidden_states, *others, **named)

    return WindowedBlock


def _enable_free_noise(network: Any, context: int) -> None:
    """Enable FreeNoise's attention in each motion layer: windows of `context` frames, a quarter apart."""
    from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

    for module in network.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            for block in module.transformer_blocks:
                block.__class__ = _free_noise_block()
                block.set_free_noise_properties(context, context // 4, "pyramid")


def _repeat_shuffled(noise: "Tensor", context: int, generator: "torch.Generator") -> None:
    """Apply FreeNoise's shuffling to `noise[C,t,h,w]` in place.

    Each frame after the first `context` is a copy of one about `context` frames earlier, shuffled within runs of a
    quarter of `context`.
    """
    import torch

    run = context // 4
    for start in range(context, noise.shape[1], run):
        order = torch.randperm(run, generator=generator)[: noise.shape[1] - start]
        noise[:, start : start + run] = noise[:, start - context + order.to(noise.device)]


def _adapter_from_file(file: Path) -> Any:
    """Return an adapter with the tensors of one file, the format of AnimateDiff-Lightning."""
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
        raise FamilyError(f"'{file}' is no readable motion adapter ({why}): download it again.") from error
    return adapter
