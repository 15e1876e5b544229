"""HunyuanVideo at toy size.

Source of the scheduler: scripts/convert_hunyuan_video_to_diffusers.py of huggingface/diffusers.
"""

from typing import Any

from .base import Kit, TinyModel, clip_text, request


def hunyuanvideo(kit: Kit) -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from transformers import LlamaConfig, LlamaModel

    llama = LlamaConfig(
        hidden_size=16, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, vocab_size=32, pad_token_id=0
    )
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    return HunyuanVideoPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=kit.fill(LlamaModel(llama), 2),
        text_encoder_2=clip_text(kit),
        tokenizer=kit.tokenizer,
        tokenizer_2=kit.tokenizer,
    )


def encode_hunyuanvideo(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    names = ("prompt_embeds", "pooled_prompt_embeds", "prompt_attention_mask")
    return dict(zip(names, pipeline.encode_prompt(prompts), strict=True))


MODELS = {
    "hunyuanvideo": TinyModel(
        family="hunyuanvideo", build=hunyuanvideo, request=request(9), encode=encode_hunyuanvideo
    ),
}
