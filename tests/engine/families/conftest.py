"""Every family at toy size: what is written to disk, diffusers' own pipeline over the same weights, how it is called.

A further family is one more entry of `MODELS`. Configurations follow diffusers' own pipeline tests.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.families import family_class
from engine.families.base import FamilyOptions
from engine.generation.request import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What builders make models from: `fill(network, seed)` gives weights and returns the network."""

    fill: Callable[[Any, int], Any]
    tokenizer: Any


def save_whole(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    pipeline.save_pretrained(folder)
    return {}


def as_it_is(latents: Any) -> Any:
    return latents


def swap_frames_and_channels(latents: Any) -> Any:
    return latents.transpose(1, 2)


def encode_t5(pipeline: Any, prompts: list[str], length: int) -> dict[str, Any]:
    options = {"do_classifier_free_guidance": False, "max_sequence_length": length}
    return {"prompt_embeds": pipeline.encode_prompt(prompts, **options)[0]}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """A family at toy size. `build` makes diffusers' pipeline, `save` writes the folder that our family reads and says
    which parts lie elsewhere, `reorder` goes between our order of dimensions and theirs (and back), `encode` gives the
    pipeline's own embeddings under the names of its arguments.
    """

    family: str
    build: Callable[[Kit], Any]
    request: GenerationRequest
    encode: Callable[[Any, list[str]], dict[str, Any]]
    save: Callable[[Any, Path, Kit], dict[str, str]] = save_whole
    reorder: Callable[[Any], Any] = as_it_is


def request(num_frames: int, size: int = 32) -> GenerationRequest:
    return GenerationRequest(prompt="x", num_frames=num_frames, width=size, height=size, num_steps=4)


def t5(kit: Kit, config: Any, model: Any) -> Any:
    return kit.fill(model(config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=32)), 2)


def clip_text(kit: Kit) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=8, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, vocab_size=32, projection_dim=8
    )
    return kit.fill(CLIPTextModel(config), 3)


def wan(kit: Kit, experts: bool = False, **options: Any) -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    def transformer(seed: int) -> Any:
        network = WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=32,
            freq_dim=256,
            ffn_dim=32,
            num_layers=2,
            rope_max_seq_len=32,
        )
        return kit.fill(network, seed)

    vae = AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1] * 4, num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    return WanPipeline(
        transformer=transformer(0),
        transformer_2=transformer(5) if experts else None,
        vae=kit.fill(vae, 1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=t5(kit, UMT5Config, UMT5EncoderModel),
        tokenizer=kit.tokenizer,
        **options,
    )


def cogvideox(kit: Kit, **options: Any) -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=4,
        sample_height=4,
        sample_frames=9,
        patch_size=2,
        max_text_seq_length=16,
        **{"attention_head_dim": 8, **options},
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    )
    return CogVideoXPipeline(
        transformer=kit.fill(transformer, 0),
        vae=kit.fill(vae, 1),
        scheduler=scheduler,
        text_encoder=t5(kit, T5Config, T5EncoderModel),
        tokenizer=kit.tokenizer,
    )


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


def plain_unet(kit: Kit) -> Any:
    """Stable Diffusion's network, before a motion adapter makes it one for video."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
    )
    filled = kit.fill(unet, 0)
    filled.conv_out.weight.data *= 0.25  # a trained network's output is as large as noise: keeps latents of such a size
    return filled


def animatediff(kit: Kit) -> Any:
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter

    adapter = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=2, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
    )
    return AnimateDiffPipeline(
        unet=plain_unet(kit),
        motion_adapter=kit.fill(adapter, 4),
        vae=kit.fill(vae, 1),
        scheduler=DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1),
        text_encoder=clip_text(kit),
        tokenizer=kit.tokenizer,
    )


def save_animatediff(pipeline: Any, folder: Path, kit: Kit) -> dict[str, str]:
    """As such models come: a Stable Diffusion folder with its scheduler, and a motion adapter in another folder."""
    adapter = folder / "elsewhere"
    pipeline.motion_adapter.save_pretrained(adapter)
    networks = {"unet": plain_unet(kit), "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}
    index = {}
    for part, value in {**networks, "tokenizer": pipeline.tokenizer, "scheduler": pipeline.scheduler}.items():
        value.save_pretrained(folder / part)
        index[part] = [type(value).__module__.split(".")[0], type(value).__name__]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return {"motion_adapter": str(adapter)}


def encode_animatediff(pipeline: Any, prompts: list[str]) -> dict[str, Any]:
    return {"prompt_embeds": pipeline.encode_prompt(prompts, "cpu", 1, False)[0]}


encode_wan = partial(encode_t5, length=512)
encode_cogvideox = partial(encode_t5, length=16)

MODELS = {
    "wan": TinyModel(family="wan", build=wan, request=request(9), encode=encode_wan),
    "wan_experts": TinyModel(
        family="wan", build=partial(wan, experts=True, boundary_ratio=0.9), request=request(9), encode=encode_wan
    ),
    "wan_level_per_token": TinyModel(
        family="wan", build=partial(wan, expand_timesteps=True), request=request(5), encode=encode_wan
    ),
    "cogvideox": TinyModel(
        family="cogvideox",
        build=cogvideox,
        request=request(9),
        reorder=swap_frames_and_channels,
        encode=encode_cogvideox,
    ),
    "cogvideox_rotary": TinyModel(
        family="cogvideox",
        build=partial(cogvideox, use_rotary_positional_embeddings=True, attention_head_dim=16),
        request=request(9),
        reorder=swap_frames_and_channels,
        encode=encode_cogvideox,
    ),
    "hunyuanvideo": TinyModel(
        family="hunyuanvideo", build=hunyuanvideo, request=request(9), encode=encode_hunyuanvideo
    ),
    "animatediff": TinyModel(
        family="animatediff",
        build=animatediff,
        request=request(5, 16),
        save=save_animatediff,
        encode=encode_animatediff,
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `tiny` runs once for each entry, unless it names its own."""
    own = any("tiny" in mark.args[0].split(",") for mark in metafunc.definition.iter_markers("parametrize"))
    if "tiny" in metafunc.fixturenames and not own:
        metafunc.parametrize("tiny", list(MODELS), indirect=True, scope="session")


@pytest.fixture(scope="session")
def tiny(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    fill_weights: Callable[[Any, int], None],
    write_tokenizer: Callable[[Path], None],
) -> SimpleNamespace:
    """One entry: `model`, `pipeline` (diffusers', with the same weights), `folder`, and `open()` for ours, loaded."""
    import torch
    from transformers import PreTrainedTokenizerFast

    model, folder = MODELS[request.param], tmp_path_factory.mktemp(request.param)
    write_tokenizer(folder / "words")

    def fill(network: Any, seed: int) -> Any:
        fill_weights(network, seed)
        return network.eval()

    kit = Kit(fill=fill, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "words"))
    pipeline = model.build(kit)
    pipeline.set_progress_bar_config(disable=True)
    options = FamilyOptions(parts=model.save(pipeline, folder, kit))

    def open_family() -> Any:
        family = family_class(model.family)(str(folder), options)
        family.load("cpu", torch.float32)
        return family

    return SimpleNamespace(model=model, pipeline=pipeline, folder=folder, options=options, open=open_family)


@pytest.fixture
def tiny_open(tiny: SimpleNamespace) -> SimpleNamespace:
    """The entry with `family`, opened once for all tests: leave it as it was."""
    if not hasattr(tiny, "family"):
        tiny.family = tiny.open()
    return tiny
