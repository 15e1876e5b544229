"""Sana-Video at toy size.

Source: scripts/convert_sana_video_to_diffusers.py of huggingface/diffusers at 58eb52c for 480p (attention without bias,
norms over all heads, patches of 1x2x2; DPM-Solver with a flow's levels and a shift of 8; Wan 2.1's VAE; Gemma 2 with
padding on the right), and model_index.json of Efficient-Large-Model/SANA-Video_2B_480p_diffusers at 62f19e7. The
pipeline's bins of sizes are switched off: 832x480 is one of them, toys are smaller.
"""

import inspect
from functools import partial
from typing import Any

from .base import Kit, TinyModel, request
from .wan import VAE


def sana_video(kit: Kit) -> Any:
    from diffusers import AutoencoderKLWan, DPMSolverMultistepScheduler, SanaVideoPipeline, SanaVideoTransformer3DModel
    from transformers import Gemma2Config, Gemma2Model

    transformer = SanaVideoTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=16,
        mlp_ratio=3.0,
        sample_size=30,
        patch_size=(1, 2, 2),
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    gemma = Gemma2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return SanaVideoPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(AutoencoderKLWan.from_config(VAE), 1),
        scheduler=DPMSolverMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"),
        text_encoder=kit.fill(Gemma2Model(gemma), 2),
        tokenizer=kit.tokenizer,
    )


def encode(pipeline: Any, prompts: list[str], instructed: bool) -> dict[str, Any]:
    told = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default if instructed else None
    options = {"do_classifier_free_guidance": False, "complex_human_instruction": told}
    embeds, mask, _, _ = pipeline.encode_prompt(prompts, **options)
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


MODELS = {
    "sana_video": TinyModel(
        family="sana_video",
        build=sana_video,
        request=request(9),
        encode=partial(encode, instructed=True),
        encode_negative=partial(encode, instructed=False),
        frames="frames",
        further={"use_resolution_binning": False, "negative_prompt": None},
    ),
}
