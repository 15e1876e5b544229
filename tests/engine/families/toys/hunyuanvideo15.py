"""HunyuanVideo-1.5 at toy size.

Source: scripts/convert_hunyuan_video1_5_to_diffusers.py of huggingface/diffusers at 58eb52c, `480p_t2v`: a shift of 5,
guidance 6 by the pipeline's guider, a patch of one latent, 2 C + 1 input channels, the VAE's default factors (16 px, 4
frames, 1.03682), the language part of Qwen2.5-VL with a tokenizer padded on the right, and ByT5 with its own tokenizer.
The script gives the transformer of `480p_t2v` the task type "i2v", which no code reads. The special tokens for colours
and fonts that the script adds to ByT5 are left out: the prompts of Dailies have none.
"""

import copy
from typing import Any

from .base import Kit, TinyModel, request

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
"""Qwen2.5's template for the messages of the pipeline."""
SHORTER = 8
"""Tokens that the toy's tokenizer needs less than Qwen's for the instruction, of which the pipeline crops 108."""


def chatting(tokenizer: Any) -> Any:
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = "<pad>" * SHORTER + CHAT
    return chatty


def hunyuanvideo15(kit: Kit) -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo15,
        ClassifierFreeGuidance,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideo15Pipeline,
        HunyuanVideo15Transformer3DModel,
    )
    from transformers import (
        ByT5Tokenizer,
        Qwen2_5_VLTextConfig,
        Qwen2_5_VLTextModel,
        T5Config,
        T5EncoderModel,
    )

    qwen = Qwen2_5_VLTextConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=32,
        rope_scaling={"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        rope_theta=1000000.0,
    )
    byt5 = T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=384)
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=32,
        image_embed_dim=12,
        rope_axes_dim=(2, 2, 4),
    )
    vae = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8,) * 5, layers_per_block=1)
    return HunyuanVideo15Pipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder=kit.fill(Qwen2_5_VLTextModel(qwen), 2),
        text_encoder_2=kit.fill(T5EncoderModel(byt5), 3),
        tokenizer=chatting(kit.tokenizer),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    names = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
    return dict(zip(names, pipeline.encode_prompt(prompts, batch_size=len(prompts)), strict=True))


def set_guider(pipeline: Any, guidance: float) -> dict[str, Any]:
    pipeline.guider = pipeline.guider.new(guidance_scale=guidance)
    return {}


MODELS = {
    "hunyuanvideo15": TinyModel(
        family="hunyuanvideo15",
        build=hunyuanvideo15,
        request=request(9, 32),
        encode=encode,
        guide=set_guider,
        one_by_one=True,
    ),
}
