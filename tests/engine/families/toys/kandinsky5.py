"""Kandinsky 5 Lite at toy size.

Source: configs/k5_lite_t2v_5s_distil_sd.yaml and k5_lite_t2v_10s_sft_sd.yaml of kandinskylab/kandinsky-5: visual_cond,
a patch of 1x2x2, axes of 16, 24 and 24, two blocks for the text, "flash" attention of the models of 5 s ("regular" in
diffusers) and scheduler_scale 5, the shift. The parts are those of diffusers' Kandinsky5T2VPipeline: all of Qwen2.5-VL
with its processor, CLIP, and the VAE of HunyuanVideo.
"""

import copy
from typing import Any

from .base import Kit, TinyModel, clip_text, request


def seeing(tokenizer: Any) -> Any:
    """The tokenizer with the tokens that Qwen's processor looks for.

    It needs 127 tokens for the instruction, of which the pipeline crops 128: a prompt's first word is lost.
    """
    known = copy.deepcopy(tokenizer)
    known.add_tokens(["<|image_pad|>", "<|video_pad|>"], special_tokens=True)
    return known


def kandinsky5(kit: Kit) -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        Kandinsky5T2VPipeline,
        Kandinsky5Transformer3DModel,
    )
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    language = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 32,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=16,
        in_text_dim2=8,
        time_dim=16,
        model_dim=20,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(2, 4, 4),
        visual_cond=True,
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    qwen = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=language, vision_config=vision))
    return Kandinsky5T2VPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder=kit.fill(qwen, 2),
        tokenizer=Qwen2VLProcessor(Qwen2VLImageProcessor(), seeing(kit.tokenizer), Qwen2VLVideoProcessor()),
        text_encoder_2=clip_text(kit),
        tokenizer_2=kit.tokenizer,
    )


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    names = ("prompt_embeds_qwen", "prompt_embeds_clip", "prompt_cu_seqlens")
    return dict(zip(names, pipeline.encode_prompt(prompts), strict=True))


def start(latents: Any, seed: int) -> dict[str, Any]:
    """Channels last, with those of an empty clip and its mask."""
    import torch

    last = latents.movedim(1, -1)
    return {"latents": torch.cat([last, torch.zeros_like(last), torch.zeros_like(last[..., :1])], dim=-1)}


def channels_first(latents: Any) -> Any:
    return latents.movedim(-1, 1)


MODELS = {
    "kandinsky5": TinyModel(
        family="kandinsky5",
        build=kandinsky5,
        request=request(9),
        encode=encode,
        start=start,
        finish=channels_first,
        one_by_one=True,
    ),
}
