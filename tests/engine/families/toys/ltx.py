"""LTX-Video at toy size; tests of the first version use the model in tests/engine/conftest.py.

Source of the schedulers, the class's default from 0.9.5 on: scripts/convert_ltx_to_diffusers.py of
huggingface/diffusers, which wrote the repositories.
"""

from functools import partial
from typing import Any

import numpy as np

from engine.request import GenerationRequest

from .base import Kit, TinyModel, as_images, give_generator, request, t5

SHIFT: dict[str, Any] = {  # of the first version
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}


def ltx_condition(kit: Kit, is_first: bool = False, takes_image: bool = False) -> Any:
    """Version 0.9.5 and later; or the first, with a dynamic shift and a VAE that is told no timestep."""
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXConditionPipeline,
        LTXImageToVideoPipeline,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=32,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(4, 8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        decoder_block_out_channels=(8, 8, 8),
        layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        patch_size=2,
        timestep_conditioning=not is_first,
    )
    first = LTXImageToVideoPipeline if takes_image else LTXPipeline
    return (first if is_first else LTXConditionPipeline)(
        transformer=kit.fill(transformer, 0),
        vae=certain(kit.fill(vae, 1)),
        scheduler=FlowMatchEulerDiscreteScheduler(**(SHIFT if is_first else {})),
        text_encoder=t5(kit, T5Config, T5EncoderModel),
        tokenizer=kit.tokenizer,
    )


def certain(vae: Any) -> Any:
    """Its encoder gives no spread: the pipeline draws from it."""
    last = vae.encoder.conv_out.conv
    last.weight.data[-1], last.bias.data[-1] = 0, -30
    return vae


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    embeds, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=16)
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def show_at_frames(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    images = zip(as_images(pictures), places, strict=True)
    return {"conditions": [LTXVideoCondition(image=image, frame_index=frame) for image, frame in images]}


def model(**fields: Any) -> TinyModel:
    return TinyModel(
        family="ltx_condition",
        build=ltx_condition,
        request=request(17, 64),
        encode=encode,
        start=give_generator,
        further={"frame_rate": request(17).fps, "image_cond_noise_scale": 0.0},
        one_by_one=True,
        **fields,
    )


def give_packed(latents: Any, seed: int) -> dict[str, Any]:
    return {"latents": latents.flatten(2).transpose(1, 2)}


def unpacked(latents: Any) -> Any:
    return latents.transpose(1, 2).unflatten(2, (3, 4, 4))


FIRST = partial(
    TinyModel,
    family="ltx",
    request=request(17, 64),
    encode=encode,
    start=give_packed,
    finish=unpacked,
    further={"frame_rate": request(17).fps},
)
MODELS = {
    "ltx_condition": model(places=(0, 5, 16), show=show_at_frames),
    "ltx_condition_later": model(places=(8, 16), show=show_at_frames),
    "ltx_condition_without_pictures": model(),
    "ltx": FIRST(build=partial(ltx_condition, is_first=True)),
}
OTHERS = {"ltx_image": FIRST(build=partial(ltx_condition, is_first=True, takes_image=True))}
