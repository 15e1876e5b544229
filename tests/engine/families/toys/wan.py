"""Wan at toy size, in all its kinds."""

from functools import partial
from typing import Any

import numpy as np

from engine.generation.request import GenerationRequest

from .base import Kit, TinyModel, as_images, encode_t5, request, t5

WIDTHS: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 256,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}


def wan(kit: Kit, experts: bool = False, pipeline: Any = None, network: Any = None, **options: Any) -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    pipeline = pipeline or WanPipeline
    network = network or WanTransformer3DModel
    vae = AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1] * 4, num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return pipeline(
        transformer=kit.fill(network(**WIDTHS), 0),
        transformer_2=kit.fill(network(**WIDTHS), 5) if experts else None,
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=t5(kit, UMT5Config, UMT5EncoderModel),
        tokenizer=kit.tokenizer,
        **options,
    )


def first_last(kit: Kit, looks: bool, **options: Any) -> Any:
    """Wan 2.1's network sees both pictures through CLIP as well (`looks`), Wan 2.2's does not."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    seen: dict[str, Any] = {"in_channels": 36}
    if looks:
        config = CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
        options["image_encoder"] = kit.fill(CLIPVisionModel(config), 6)
        options["image_processor"] = CLIPImageProcessor(crop_size=32, size=32)
        seen |= {"image_dim": 8, "added_kv_proj_dim": 24, "pos_embed_seq_len": 10}
    return wan(kit, pipeline=WanImageToVideoPipeline, network=partial(WanTransformer3DModel, **seen), **options)


def vace(kit: Kit) -> Any:
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    network = partial(WanVACETransformer3DModel, vace_layers=[0, 1], vace_in_channels=96)
    return wan(kit, pipeline=WanVACEPipeline, network=network)


def show_ends(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    first, last = as_images(pictures)
    return {"image": first, "last_image": last}


def show_in_a_grey_clip(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    """With a mask that is white where something is to be made."""
    shape = (1, request.num_frames, request.height, request.width, 3)
    clip, mask = np.full(shape, 0.5, np.float32), np.ones(shape, np.float32)
    clip[0, list(places)], mask[0, list(places)] = pictures / 255, 0
    return {"video": clip, "mask": mask}


wan_model = partial(TinyModel, family="wan", request=request(9), encode=partial(encode_t5, length=512))
flf_model = partial(wan_model, family="wan_flf", places=(0, 8), show=show_ends, one_by_one=True)
vace_model = partial(wan_model, family="wan_vace", build=vace, one_by_one=True)
MODELS = {
    "wan": wan_model(build=wan),
    "wan_experts": wan_model(build=partial(wan, experts=True, boundary_ratio=0.9)),
    "wan_level_per_token": wan_model(build=partial(wan, expand_timesteps=True), request=request(5)),
    "wan_flf": flf_model(build=partial(first_last, looks=True)),
    "wan_flf_experts": flf_model(build=partial(first_last, looks=False, experts=True, boundary_ratio=0.9)),
    "wan_vace": vace_model(places=(0, 4, 8), show=show_in_a_grey_clip),
    "wan_vace_without_pictures": vace_model(),
}
