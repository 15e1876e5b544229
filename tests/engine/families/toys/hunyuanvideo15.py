"""HunyuanVideo-1.5 at toy size, from text and from a first picture.

Source: scripts/convert_hunyuan_video1_5_to_diffusers.py of huggingface/diffusers at 58eb52c, `480p_t2v`: a shift of 5,
guidance 6 by the pipeline's guider, a patch of one latent, 2 C + 1 input channels, the VAE's default factors (16 px, 4
frames, 1.03682), the language part of Qwen2.5-VL with a tokenizer padded on the right, and ByT5 with its own tokenizer.
The script gives the transformer of `480p_t2v` the task type "i2v", which no code reads. The special tokens for colours
and fonts that the script adds to ByT5 are left out: the prompts of Dailies have none. `480p_i2v` differs by SigLIP
alone, that of FLUX.1-Redux-dev (checkpoints-download.md of Tencent-Hunyuan/HunyuanVideo-1.5), with the processor's
defaults but for the size: 384 px in patches of 14 there, 28 px here. Its pipeline chooses the clip's size by the
picture's aspect and the network's target_size, 640 there; 32 gives the picture's own size here.
"""

import copy
from functools import partial
from typing import Any

import numpy as np

from engine.request import GenerationRequest

from .base import Kit, TinyModel, as_images, request

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


def hunyuanvideo15(kit: Kit, pipeline: Any = None, **options: Any) -> Any:
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
        target_size=32,
    )
    vae = AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8,) * 5, layers_per_block=1)
    return (pipeline or HunyuanVideo15Pipeline)(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder=kit.fill(Qwen2_5_VLTextModel(qwen), 2),
        text_encoder_2=kit.fill(T5EncoderModel(byt5), 3),
        tokenizer=chatting(kit.tokenizer),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        **options,
    )


def from_picture(kit: Kit) -> Any:
    """Its call takes neither width nor height, which the tests pass to every pipeline."""
    from diffusers import HunyuanVideo15ImageToVideoPipeline as Diffusers
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    class HunyuanVideo15ImageToVideoPipeline(Diffusers):
        def __call__(self, *, width: int, height: int, **others: Any) -> Any:
            made = super().__call__(**others)
            assert made.frames.shape[-1] in (width, width // 16, 3), "the pipeline chose another size"
            return made

    siglip = SiglipVisionConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    return hunyuanvideo15(
        kit,
        pipeline=HunyuanVideo15ImageToVideoPipeline,
        image_encoder=kit.fill(SiglipVisionModel(siglip), 6),
        feature_extractor=SiglipImageProcessor(size={"height": 28, "width": 28}),
    )


def show(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    return {"image": as_images(pictures)[0]}


def encode(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    names = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
    return dict(zip(names, pipeline.encode_prompt(prompts, batch_size=len(prompts)), strict=True))


def set_guider(pipeline: Any, guidance: float) -> dict[str, Any]:
    pipeline.guider = pipeline.guider.new(guidance_scale=guidance)
    return {}


tiny = partial(TinyModel, request=request(9, 32), encode=encode, guide=set_guider, one_by_one=True)
MODELS = {
    "hunyuanvideo15": tiny(family="hunyuanvideo15", build=hunyuanvideo15),
    "hunyuanvideo15_i2v": tiny(family="hunyuanvideo15_i2v", build=from_picture, places=(0,), show=show),
}
