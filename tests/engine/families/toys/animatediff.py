"""AnimateDiff at toy size."""

import json
from pathlib import Path
from typing import Any

from .base import Kit, TinyModel, clip_text, request


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


def animatediff(kit: Kit) -> Any:
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter

    adapter = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=2, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
    )
    return AnimateDiffPipeline(
        unet=plain_unet(kit),
        motion_adapter=kit.fill(adapter, 4),
        vae=kit.fill(vae, 1),
        scheduler=DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1),
        text_encoder=clip_text(kit),
        tokenizer=kit.tokenizer,
    )


def save_animatediff(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    """As such models come: a Stable Diffusion folder with its scheduler, and a motion adapter in another folder."""
    adapter = folder / "elsewhere"
    pipeline.motion_adapter.save_pretrained(adapter)
    networks = {"unet": plain_unet(kit), "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    index = {}
    for part, value in {**networks, "tokenizer": pipeline.tokenizer, "scheduler": pipeline.scheduler}.items():
        value.save_pretrained(folder / part)
        index[part] = [type(value).__module__.split(".")[0], type(value).__name__]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return {"motion_adapter": str(adapter)}


def encode_animatediff(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    return {"prompt_embeds": pipeline.encode_prompt(prompts, "cpu", 1, False)[0]}


MODELS = {
    "animatediff": TinyModel(
        family="animatediff",
        build=animatediff,
        request=request(5, 16),
        save=save_animatediff,
        encode=encode_animatediff,
    ),
}
