"""Wan at toy size, in all its kinds, each with the scheduler of its real repository.

Source of the schedulers: scripts/convert_wan_to_diffusers.py of huggingface/diffusers, which wrote the repositories:
UniPC with a flow prediction and the class's defaults (order 2, bh2, final level 0), and a flow_shift of 16 for FLF2V, 5
for Wan 2.2 TI2V, and 3 for all others. Wan 2.2's boundary_ratio: 0.875 for T2V (wan/configs/wan_t2v_A14B.py), 0.9 for
I2V (wan_i2v_A14B.py). Wan 2.2 5B's VAE: `tools/memory/configs/wan.toml`, all but its widths and depth.
SkyReels-V2: scripts/convert_skyreelsv2_to_diffusers.py, whose scheduler has the default flow_shift of 1, and whose
transformer has the flags of Wan's (no image, no sample information).
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.request import GenerationRequest
from tools.memory.folders import configs

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
VAE: dict[str, Any] = {
    "base_dim": 3,
    "z_dim": 16,
    "dim_mult": [1] * 4,
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
VAE_5B: dict[str, Any] = configs()["parts"]["wan22_vae"] | {
    "base_dim": 4,
    "decoder_base_dim": 4,
    "dim_mult": [1] * 4,
    "num_res_blocks": 1,
}


def unipc(flow_shift: float) -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift)


def wan(
    kit: Kit,
    experts: bool = False,
    pipeline: Any = None,
    network: Any = None,
    flow_shift: float = 3.0,
    widths: dict[str, Any] = WIDTHS,
    vae: dict[str, Any] = VAE,
    **options: Any,
) -> Any:
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    pipeline = pipeline or WanPipeline
    network = network or WanTransformer3DModel
    return pipeline(
        transformer=kit.fill(network(**widths), 0),
        vae=kit.fill(AutoencoderKLWan.from_config(vae), 1),
        scheduler=unipc(flow_shift),
        text_encoder=t5(kit, UMT5Config, UMT5EncoderModel),
        tokenizer=kit.tokenizer,
        **({"transformer_2": kit.fill(network(**widths), 5)} if experts else {}),
        **options,
    )


def exact(kit: Kit) -> Any:
    """Wan whose velocity is the exact one of unit-normal clean latents, v = (2 s - 1) / (s^2 + (1 - s)^2) x.

    Patches of 16 x 2 x 2 numbers pass through 64 channels as they are, blocks add nothing before they are trained, and
    the output's modulation is fitted to the factor: what remains of x after the output's norm has the std of 1.
    """
    import torch

    pipeline = wan(kit, widths={**WIDTHS, "attention_head_dim": 32, "num_layers": 1})
    network = pipeline.transformer
    size = network.proj_out.in_features
    patch = torch.eye(size).reshape(size, 1, 2, 2, 16).permute(0, 4, 1, 2, 3)
    centred = torch.eye(size) - 1 / size
    block, embedder = network.blocks[0], network.condition_embedder
    for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
        layer.weight.data.zero_(), layer.bias.data.zero_()
    network.patch_embedding.weight.data.copy_(patch), network.patch_embedding.bias.data.zero_()
    network.proj_out.weight.data.copy_(centred), network.proj_out.bias.data.zero_()
    network.scale_shift_table.data.zero_()

    timesteps = torch.arange(1000.0)
    waves, first, last = (
        embedder.timesteps_proj(timesteps),
        embedder.time_embedder.linear_1,
        embedder.time_embedder.linear_2,
    )
    first.weight.data[:, waves.diff(dim=0).abs().amax(dim=0) > 0.01] = 0  # waves that are too fast to fit with
    first.weight.data *= 10
    sigma = timesteps / 1000
    wanted = (2 * sigma - 1) / (sigma**2 + (1 - sigma) ** 2).sqrt() - 1
    seen = torch.cat([embedder.time_embedder.act(first(waves)), torch.ones(1000, 1)], dim=1)
    fitted = torch.linalg.lstsq(seen.detach(), wanted[:, None]).solution[:, 0]
    last.weight.data.copy_(fitted[:-1].expand(size, -1)), last.bias.data.fill_(fitted[-1])
    return pipeline


def pictured(kit: Kit, looks: bool, pictures: int = 2, **options: Any) -> Any:
    """Wan 2.1's network sees its `pictures` through CLIP as well (`looks`), Wan 2.2's does not.

    Only the network for two pictures has embeddings of CLIP's positions (image_dim, added_kv_proj_dim, in_channels and
    pos_embed_seq_len of Wan-I2V-14B-480p, Wan-FLF2V-14B-720p and Wan2.2-I2V-14B-720p in the script above).
    """
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
        seen |= {"image_dim": 8, "added_kv_proj_dim": 24, "pos_embed_seq_len": 10 if pictures > 1 else None}
    return wan(kit, pipeline=WanImageToVideoPipeline, network=partial(WanTransformer3DModel, **seen), **options)


def vace(kit: Kit) -> Any:
    from diffusers import WanVACEPipeline, WanVACETransformer3DModel

    network = partial(WanVACETransformer3DModel, vace_layers=[0, 1], vace_in_channels=96)
    return wan(kit, pipeline=WanVACEPipeline, network=network)


def skyreels(kit: Kit) -> Any:
    """SkyReels-V2 as diffusers' documentation runs it, with a flow_shift of 8; its repository has none."""
    from diffusers import SkyReelsV2Pipeline, SkyReelsV2Transformer3DModel

    return wan(kit, pipeline=SkyReelsV2Pipeline, network=SkyReelsV2Transformer3DModel, flow_shift=8.0)


def save_without_shift(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    pipeline.save_pretrained(folder)
    unipc(1.0).save_pretrained(folder / "scheduler")
    return {}


def show_ends(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    first, last = as_images(pictures)
    return {"image": first, "last_image": last}


def show_first(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    return {"image": as_images(pictures)[0]}


def wan_5b(kit: Kit, **options: Any) -> Any:
    """Wan 2.2 5B: a level for each token, and a residual VAE of 48 channels over patches of pixels."""
    widths = {**WIDTHS, "in_channels": 48, "out_channels": 48}
    return wan(kit, expand_timesteps=True, flow_shift=5.0, widths=widths, vae=VAE_5B, **options)


def from_text_and_picture(kit: Kit) -> Any:
    """As diffusers' pipeline for pictures opens its repository."""
    from diffusers import WanImageToVideoPipeline

    return wan_5b(kit, pipeline=WanImageToVideoPipeline)


def show_in_a_grey_clip(pictures: np.ndarray, places: tuple[int, ...], request: GenerationRequest) -> dict[str, Any]:
    """With a mask that is white where something is to be made."""
    shape = (1, request.num_frames, request.height, request.width, 3)
    clip, mask = np.full(shape, 0.5, np.float32), np.ones(shape, np.float32)
    clip[0, list(places)], mask[0, list(places)] = pictures / 255, 0
    return {"video": clip, "mask": mask}


wan_model = partial(TinyModel, family="wan", request=request(9), encode=partial(encode_t5, length=512))
ti2v_model = partial(wan_model, family="wan_ti2v", request=request(5, 64))
i2v_model = partial(wan_model, family="wan_i2v", places=(0,), show=show_first, one_by_one=True)
flf_model = partial(wan_model, family="wan_flf", places=(0, 8), show=show_ends, one_by_one=True)
vace_model = partial(wan_model, family="wan_vace", build=vace, one_by_one=True)
MODELS = {
    "wan": wan_model(build=wan),
    "wan_experts": wan_model(build=partial(wan, experts=True, boundary_ratio=0.875)),
    "wan_level_per_token": ti2v_model(build=wan_5b),
    "wan_ti2v": ti2v_model(build=from_text_and_picture, places=(0,), show=show_first, one_by_one=True),
    "wan_i2v": i2v_model(build=partial(pictured, looks=True, pictures=1)),
    "wan_i2v_experts": i2v_model(build=partial(pictured, looks=False, pictures=1, experts=True, boundary_ratio=0.9)),
    "wan_flf": flf_model(build=partial(pictured, looks=True, flow_shift=16.0)),
    "wan_flf_experts": flf_model(build=partial(pictured, looks=False, experts=True, boundary_ratio=0.9)),
    "wan_vace": vace_model(places=(0, 4, 8), show=show_in_a_grey_clip),
    "wan_vace_without_pictures": vace_model(),
    "skyreels_v2": wan_model(
        family="skyreels_v2", build=skyreels, save=save_without_shift, scheduler={"flow_shift": 8.0}
    ),
}
OTHERS = {"wan_exact": wan_model(build=exact)}
