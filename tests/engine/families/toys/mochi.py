"""Mochi 1 at toy size.

Source: scripts/convert_mochi_to_diffusers.py of huggingface/diffusers at 58eb52c: a scheduler with inverted levels, 12
latent channels with the VAE class's default means and stds, its default strides (8 px, 6 frames), and a T5 tokenizer
of 256 tokens.
"""

from typing import Any

from .base import Kit, TinyModel, request, t5


def mochi(kit: Kit) -> Any:
    from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    transformer = MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    vae = AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        layers_per_block=(1,) * 5,
    )
    return MochiPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        text_encoder=t5(kit, T5Config, T5EncoderModel),
        tokenizer=kit.tokenizer,
    )


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    embeds, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


MODELS = {"mochi": TinyModel(family="mochi", build=mochi, request=request(7), encode=encode)}
