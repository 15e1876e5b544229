"""AnimateDiff at toy size, with the scheduler of its real repository.

Source: scheduler/scheduler_config.json of Stable Diffusion 1.5 (PNDM, `OF_STABLE_DIFFUSION`), over which the presets
lay the DDIM of diffusers' AnimateDiff documentation.
"""

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.presets import load_model_preset
from engine.request import GenerationRequest

from .base import Kit, TinyModel, as_images, clip_text, give_generator, request

OF_STABLE_DIFFUSION: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
LAID_OVER = load_model_preset("animatediff_sd15").scheduler


def plain_unet(kit: Kit) -> Any:
    """Stable Diffusion's network, before a motion adapter makes it one for video."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
    )
    return kit.fill(unet, 0)


def fit_output(unet: Any, scheduler: Any) -> None:
    """Fits the last layer by least squares to predict the noise in noised unit-normal latents.

    The first timestep has a signal of 0.04: a prediction that ignores the latents would be amplified 25 times.
    """
    import torch

    generator, last = torch.Generator().manual_seed(0), unet.conv_out
    clean, noise = (torch.randn(64, 4, 4, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.randint(1000, (64,), generator=generator)
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    words = torch.randn(64 * 4, 4, 8, generator=generator)
    with torch.no_grad():
        unet(scheduler.add_noise(clean, noise, timesteps), timesteps, encoder_hidden_states=words)
    hook.remove()
    patches = torch.nn.functional.unfold(seen[0], last.kernel_size, padding=last.padding).transpose(1, 2).flatten(0, 1)
    wanted = noise.transpose(1, 2).flatten(0, 1).flatten(2).transpose(1, 2).flatten(0, 1)
    fitted = torch.linalg.lstsq(torch.cat([patches, torch.ones(len(patches), 1)], dim=1), wanted).solution
    last.weight.data = fitted[:-1].T.unflatten(1, last.weight.shape[1:]).contiguous()
    last.bias.data = fitted[-1].clone()


def animatediff(kit: Kit, pipeline: Any = None, longest: int = 32, **options: Any) -> Any:
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter

    pipeline = pipeline or AnimateDiffPipeline
    adapter = MotionAdapter(
        block_out_channels=(8, 8),
        motion_layers_per_block=2,
        motion_norm_num_groups=2,
        motion_num_attention_heads=4,
        motion_max_seq_length=longest,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
    )
    known = inspect.signature(DDIMScheduler.__init__).parameters
    config = {name: value for name, value in {**OF_STABLE_DIFFUSION, **LAID_OVER}.items() if name in known}
    made = pipeline(
        unet=plain_unet(kit),
        motion_adapter=kit.fill(adapter, 4),
        vae=certain(kit.fill(vae, 1)),
        scheduler=DDIMScheduler(**config),
        text_encoder=clip_text(kit),
        tokenizer=kit.tokenizer,
        **options,
    )
    fit_output(made.unet, made.scheduler)
    return made


def certain(vae: Any) -> Any:
    """Its encoder gives no spread: SparseCtrl's pipeline draws from it, without a seed."""
    half = vae.quant_conv.out_channels // 2
    vae.quant_conv.weight.data[half:], vae.quant_conv.bias.data[half:] = 0, -30
    return vae


def sparsectrl(kit: Kit) -> Any:
    from diffusers import AnimateDiffSparseControlNetPipeline, SparseControlNetModel

    control = SparseControlNetModel(
        block_out_channels=(8, 8),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        conditioning_embedding_out_channels=(8, 8),
        cross_attention_dim=8,
        norm_num_groups=2,
        motion_num_attention_heads=4,
    )
    return animatediff(kit, pipeline=AnimateDiffSparseControlNetPipeline, controlnet=kit.fill(control, 6))


def free_noise(kit: Kit) -> Any:
    pipeline = animatediff(kit)
    pipeline.enable_free_noise(context_length=8, context_stride=2)
    return pipeline


def show_sparsely(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    return {"conditioning_frames": as_images(pictures), "controlnet_frame_indices": list(places)}


def save_animatediff(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    """Write a Stable Diffusion folder with its scheduler, and a motion adapter in another folder."""
    adapter = folder / "elsewhere"
    pipeline.motion_adapter.save_pretrained(adapter)
    elsewhere = {"motion_adapter": str(adapter)}
    if hasattr(pipeline, "controlnet"):
        pipeline.controlnet.save_pretrained(folder / "control")
        elsewhere["sparse_control"] = str(folder / "control")
    unet = plain_unet(kit)
    unet.conv_out.load_state_dict(pipeline.unet.conv_out.state_dict())
    parts = {"unet": unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder, "tokenizer": pipeline.tokenizer}
    index = {"scheduler": ["diffusers", OF_STABLE_DIFFUSION["_class_name"]]}
    for part, value in parts.items():
        value.save_pretrained(folder / part)
        index[part] = [type(value).__module__.split(".")[0], type(value).__name__]
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(OF_STABLE_DIFFUSION))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return elsewhere


def encode_animatediff(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    return {"prompt_embeds": pipeline.encode_prompt(prompts, "cpu", 1, False)[0]}


def give_words(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    """With FreeNoise the pipeline takes no embeddings."""
    return {"prompt": prompts[0]}


animatediff_model = partial(
    TinyModel,
    family="animatediff",
    build=animatediff,
    request=request(5, 16),
    save=save_animatediff,
    encode=encode_animatediff,
    scheduler=LAID_OVER,
)
sparsectrl_model = partial(animatediff_model, family="animatediff_sparsectrl", build=sparsectrl)
MODELS = {
    "animatediff": animatediff_model(),
    "animatediff_free_noise": animatediff_model(
        build=free_noise,
        request=request(13, 16),
        context_frames=8,
        encode=give_words,
        start=give_generator,
        one_by_one=True,
    ),
    "animatediff_sparsectrl": sparsectrl_model(places=(0, 2, 4), show=show_sparsely, one_by_one=True),
}
OTHERS = {"longanimatediff": animatediff_model(build=partial(animatediff, longest=64))}
