"""AnimateDiff at toy size."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.generation.request import GenerationRequest

from .base import Kit, TinyModel, as_images, clip_text, give_generator, request


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
    filled = kit.fill(unet, 0)
    filled.conv_out.weight.data *= 0.25  # a trained network's output is as large as noise: keeps latents of such a size
    return filled


def animatediff(kit: Kit, pipeline: Any = None, **options: Any) -> Any:
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter

    pipeline = pipeline or AnimateDiffPipeline
    adapter = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=2, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
    )
    return pipeline(
        unet=plain_unet(kit),
        motion_adapter=kit.fill(adapter, 4),
        vae=certain(kit.fill(vae, 1)),
        scheduler=DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1),
        text_encoder=clip_text(kit),
        tokenizer=kit.tokenizer,
        **options,
    )


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
    """As such models come: a Stable Diffusion folder with its scheduler, and a motion adapter in another folder."""
    adapter = folder / "elsewhere"
    pipeline.motion_adapter.save_pretrained(adapter)
    elsewhere = {"motion_adapter": str(adapter)}
    if hasattr(pipeline, "controlnet"):
        pipeline.controlnet.save_pretrained(folder / "control")
        elsewhere["sparse_control"] = str(folder / "control")
    networks = {"unet": plain_unet(kit), "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    index = {}
    for part, value in {**networks, "tokenizer": pipeline.tokenizer, "scheduler": pipeline.scheduler}.items():
        value.save_pretrained(folder / part)
        index[part] = [type(value).__module__.split(".")[0], type(value).__name__]
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
