"""Names of layers in other programs, by family.

Sources: the conversion scripts of diffusers (`scripts/convert_{wan,ltx,ltx2,hunyuan_video}_to_diffusers.py`), which
state the names in the models' own code; ComfyUI reads these after `diffusion_model.`, and musubi-tuner writes them
with underscores after `lora_unet_`. kohya's sd-scripts use diffusers' names for Stable Diffusion 1.5.
"""

from collections.abc import Iterable

from engine.family_interface import LayerNames

QKVO = ("to_q", "to_k", "to_v", "to_out.0")
FF = ("net.0.proj", "net.2")


def _joined(prefixes: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for prefix in prefixes for name in names)


def _paired(prefix: str, own: str, names: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}.{name}": f"{own}.{other}" for name, other in names.items()}


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


_WAN_ATTENTION = dict(zip(QKVO, "qkvo", strict=True))
_WAN_BLOCK = (
    _paired("attn1", "self_attn", _WAN_ATTENTION)
    | _paired("attn2", "cross_attn", _WAN_ATTENTION | {"add_k_proj": "k_img", "add_v_proj": "v_img"})
    | {"ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}
)
_TWO_LINEARS = {"linear_1": "0", "linear_2": "2"}
WAN = LayerNames(
    native=_paired("blocks.*", "blocks.*", _WAN_BLOCK)
    | _paired("vace_blocks.*", "vace_blocks.*", _WAN_BLOCK | {"proj_in": "before_proj", "proj_out": "after_proj"})
    | _paired("condition_embedder.time_embedder", "time_embedding", _TWO_LINEARS)
    | _paired("condition_embedder.text_embedder", "text_embedding", _TWO_LINEARS)
    | _paired("condition_embedder.image_embedder.ff", "img_emb.proj", {"net.0.proj": "1", "net.2": "3"})
    | _same(["patch_embedding", "vace_patch_embedding"])
    | {"condition_embedder.time_proj": "time_projection.1", "proj_out": "head.head"}
)

_LEVELS = ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2", "linear")
_CAPTION = ("caption_projection.linear_1", "caption_projection.linear_2")


def _ltx(attentions: tuple[str, ...], feed_forwards: tuple[str, ...], levels: dict[str, str]) -> dict[str, str]:
    within = (*_joined(attentions, QKVO), *_joined(feed_forwards, FF))
    paired = {f"{name}.{end}": f"{own}.{end}" for name, own in levels.items() for end in _LEVELS}
    return _same(_joined(["transformer_blocks.*"], within)) | _same([*_CAPTION, "proj_out"]) | paired


LTX = LayerNames(
    native=_ltx(("attn1", "attn2"), ("ff",), {"time_embed": "adaln_single"}) | {"proj_in": "patchify_proj"}
)
LTX2 = LayerNames(
    native=_ltx(
        ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn"),
        ("ff", "audio_ff"),
        {
            "time_embed": "adaln_single",
            "audio_time_embed": "audio_adaln_single",
            "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
            "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
            "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
            "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
            "prompt_adaln": "prompt_adaln_single",
            "audio_prompt_adaln": "audio_prompt_adaln_single",
        },
    )
    | _same([f"audio_{name}" for name in (*_CAPTION, "proj_out")])
    | {"proj_in": "patchify_proj", "audio_proj_in": "audio_patchify_proj"}
)

_MLP = {"net.0.proj": "fc1", "net.2": "fc2"}
_REFINER, _OWN_REFINER = "context_embedder.token_refiner.refiner_blocks.*", "txt_in.individual_token_refiner.blocks.*"
_QKV, _ADDED_QKV = (
    tuple((name, 1) for name in names) for names in (QKVO[:3], ("add_q_proj", "add_k_proj", "add_v_proj"))
)
HUNYUAN_VIDEO = LayerNames(
    native={
        "transformer_blocks.*.attn.to_out.0": "double_blocks.*.img_attn_proj",
        "transformer_blocks.*.attn.to_add_out": "double_blocks.*.txt_attn_proj",
        "transformer_blocks.*.norm1.linear": "double_blocks.*.img_mod.linear",
        "transformer_blocks.*.norm1_context.linear": "double_blocks.*.txt_mod.linear",
        "single_transformer_blocks.*.proj_out": "single_blocks.*.linear2",
        "single_transformer_blocks.*.norm.linear": "single_blocks.*.modulation.linear",
        f"{_REFINER}.attn.to_out.0": f"{_OWN_REFINER}.self_attn_proj",
        f"{_REFINER}.norm_out.linear": f"{_OWN_REFINER}.adaLN_modulation.1",
        "context_embedder.proj_in": "txt_in.input_embedder",
        "x_embedder.proj": "img_in.proj",
        "proj_out": "final_layer.linear",
        **_paired("transformer_blocks.*.ff", "double_blocks.*.img_mlp", _MLP),
        **_paired("transformer_blocks.*.ff_context", "double_blocks.*.txt_mlp", _MLP),
        **_paired(f"{_REFINER}.ff", f"{_OWN_REFINER}.mlp", _MLP),
        **_paired("time_text_embed.timestep_embedder", "time_in.mlp", _TWO_LINEARS),
        **_paired("time_text_embed.guidance_embedder", "guidance_in.mlp", _TWO_LINEARS),
        **_paired("time_text_embed.text_embedder", "vector_in", {"linear_1": "in_layer", "linear_2": "out_layer"}),
        **_paired("context_embedder.time_text_embed.timestep_embedder", "txt_in.t_embedder.mlp", _TWO_LINEARS),
        **_paired("context_embedder.time_text_embed.text_embedder", "txt_in.c_embedder", {n: n for n in _TWO_LINEARS}),
    },
    fused={
        "double_blocks.*.img_attn_qkv": {f"transformer_blocks.*.attn.{name}": rows for name, rows in _QKV},
        "double_blocks.*.txt_attn_qkv": {f"transformer_blocks.*.attn.{name}": rows for name, rows in _ADDED_QKV},
        "single_blocks.*.linear1": {
            **{f"single_transformer_blocks.*.attn.{name}": rows for name, rows in _QKV},
            "single_transformer_blocks.*.proj_mlp": 4,
        },
        f"{_OWN_REFINER}.self_attn_qkv": {f"{_REFINER}.attn.{name}": rows for name, rows in _QKV},
    },
)

_RESNET = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")
_SPATIAL = (
    "proj_in",
    "proj_out",
    *_joined(["transformer_blocks.*"], (*_joined(["attn1", "attn2"], QKVO), *_joined(["ff"], FF))),
)
STABLE_DIFFUSION = LayerNames(
    native=_same(
        _joined(
            ["down_blocks.*", "mid_block", "up_blocks.*"],
            (*_joined(["attentions.*"], _SPATIAL), *_joined(["resnets.*"], _RESNET)),
        )
    )
    | _same(["down_blocks.*.downsamplers.*.conv", "up_blocks.*.upsamplers.*.conv"])
    | _same(["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"]),
    formats=("kohya",),
    otherwise="ComfyUI reads kohya's format for Stable Diffusion 1.5: choose --format kohya.",
    limits="layers of motion modules have no name there",
)


def _of_diffusers(title: str, names: Iterable[str]) -> LayerNames:
    """Return diffusers' own names, for a model whose adapters are exchanged by these alone."""
    otherwise = f"adapters of {title} have diffusers' names: choose --format diffusers."
    return LayerNames(native=_same(names), formats=(), otherwise=otherwise)


_JOINT = (*QKVO, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
COGVIDEOX = _of_diffusers(
    "CogVideoX",
    (
        *_joined(["transformer_blocks.*"], (*_joined(["attn1"], QKVO), *_joined(["ff"], FF))),
        *_joined(["transformer_blocks.*"], ["norm1.linear", "norm2.linear"]),
        *("patch_embed.proj", "patch_embed.text_proj", "norm_out.linear", "proj_out"),
        *("time_embedding.linear_1", "time_embedding.linear_2"),
    ),
)
HUNYUAN_VIDEO_15 = _of_diffusers(
    "HunyuanVideo-1.5",
    (
        *_joined(["transformer_blocks.*"], (*_joined(["attn"], _JOINT), *_joined(["ff", "ff_context"], FF))),
        *_joined([_REFINER], (*_joined(["attn"], QKVO), *_joined(["ff"], FF))),
    ),
)
MOCHI = _of_diffusers(
    "Mochi 1",
    (
        *_joined(["transformer_blocks.*"], (*_joined(["attn1"], _JOINT), *_joined(["ff", "ff_context"], FF))),
        *("time_embed.pooler.to_q", "time_embed.pooler.to_kv", "time_embed.pooler.to_out"),
    ),
)
_KANDINSKY_ATTENTION = ("to_query", "to_key", "to_value", "out_layer")
_KANDINSKY_BLOCK = (
    *_joined(["self_attention", "cross_attention"], _KANDINSKY_ATTENTION),
    *("feed_forward.in_layer", "feed_forward.out_layer"),
)
KANDINSKY_5 = _of_diffusers(
    "Kandinsky 5", _joined(["visual_transformer_blocks.*", "text_transformer_blocks.*"], _KANDINSKY_BLOCK)
)
SANA_VIDEO = _of_diffusers("Sana-Video", _joined(["transformer_blocks.*"], _joined(["attn1", "attn2"], QKVO)))
