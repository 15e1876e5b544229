"""LTX-2 at toy size. Its pipelines keep sound and video apart at each call, as our family does.

Source of the scheduler: scripts/convert_ltx2_to_diffusers.py of huggingface/diffusers, which wrote the repository.
"""

from functools import partial
from typing import Any

import numpy as np

from engine.request import GenerationRequest

from .base import Kit, TinyModel, request
from .ltx import SHIFT  # the first LTX-Video's

WIDTH, LAYERS = 16, 2  # of the text encoder
MEAN, STD = 0.3, 2.0  # of the VAE's latents


def ltx2(kit: Kit, hears: bool = False, conditioned: bool = False) -> Any:
    from diffusers import AutoencoderKLLTX2Audio, FlowMatchEulerDiscreteScheduler, LTX2ConditionPipeline, LTX2Pipeline
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    audio_vae = AutoencoderKLLTX2Audio(
        base_channels=4,
        output_channels=2,
        ch_mult=(1,),
        num_res_blocks=1,
        in_channels=2,
        resolution=32,
        latent_channels=2,
        norm_type="pixel",
        causality_axis="height",
        mid_block_add_attention=False,
        mel_bins=8,
    )
    vocoder = LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        out_channels=2,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=16000,
    )
    kit.tokenizer.padding_side = "left"  # as Gemma's own
    pipeline = (LTX2ConditionPipeline if conditioned else LTX2Pipeline)(
        transformer=transformer(kit),
        vae=video_vae(kit),
        audio_vae=kit.fill(audio_vae, 4),
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFT),
        text_encoder=gemma(kit),
        tokenizer=kit.tokenizer,
        connectors=connectors(kit),
        vocoder=kit.fill(vocoder, 5),
    )
    if not hears:
        pipeline.transformer.register_forward_pre_hook(keep_apart, with_kwargs=True)
    return pipeline


def keep_apart(network: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return inputs, {**named, "isolate_modalities": True}


def transformer(kit: Kit) -> Any:
    from diffusers import LTX2VideoTransformer3DModel

    network = LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        vae_scale_factors=(8, 16, 16),
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=WIDTH,
        rope_double_precision=False,
        rope_type="split",
    )
    return kit.fill(network, 0)


def video_vae(kit: Kit) -> Any:
    from diffusers import AutoencoderKLLTX2Video

    vae = kit.fill(
        AutoencoderKLLTX2Video(
            latent_channels=4,
            block_out_channels=(8, 8, 8),
            down_block_types=("LTX2VideoDownBlock3D",) * 3,
            decoder_block_out_channels=(8, 8, 8),
            layers_per_block=(1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1),
            spatio_temporal_scaling=(True,) * 3,
            decoder_spatio_temporal_scaling=(True,) * 3,
            downsample_type=("spatiotemporal",) * 3,
            upsample_residual=(False,) * 3,
            upsample_factor=(1,) * 3,
            patch_size=2,
        ),
        1,
    )
    vae.latents_mean += MEAN
    vae.latents_std *= STD
    return vae


def connectors(kit: Kit) -> Any:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    shape = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_learnable_registers": 8}
    network = LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=LAYERS + 1,
        connector_rope_base_seq_len=32,
        rope_double_precision=False,
        rope_type="split",
        **{f"{modality}_connector_{name}": value for modality in ("video", "audio") for name, value in shape.items()},
    )
    return kit.fill(network, 3)


def gemma(kit: Kit) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 32,
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=31)
    return kit.fill(Gemma3ForConditionalGeneration(config), 2)


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    embeds, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=16)
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def give_unwhitened(latents: Any, seed: int) -> dict[str, Any]:
    return {"latents": latents * STD + MEAN, "noise_scale": 0.0}


def whitened(latents: Any) -> Any:
    return (latents - MEAN) / STD


def show_at_latents(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    from diffusers.pipelines.ltx2 import LTX2VideoCondition

    latents = [(place - 1) // 8 + 1 for place in places]
    shown = zip(pictures, latents, strict=True)
    return {"conditions": [LTX2VideoCondition(frames=picture[None], index=index, crf=0) for picture, index in shown]}


PLAIN = {"frame_rate": request(17).fps, "guidance_rescale": 0.0, "audio_guidance_rescale": 0.0}
PLAIN |= {
    "audio_guidance_scale": None,
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
}

model = partial(
    TinyModel,
    family="ltx2",
    request=request(17, 64),
    encode=encode,
    start=give_unwhitened,
    finish=whitened,
    further=PLAIN,
)
MODELS = {
    "ltx2": model(build=ltx2),
    "ltx2_with_pictures": model(
        build=partial(ltx2, conditioned=True), places=(0, 1, 9), show=show_at_latents, one_by_one=True
    ),
}
OTHERS = {"ltx2_that_hears": model(build=partial(ltx2, hears=True))}
