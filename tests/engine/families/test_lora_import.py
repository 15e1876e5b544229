"""LoRA files as other programs write them, brought in: the model they make is that of the LoRA they were made from."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from engine.errors import FamilyError
from engine.families.exchange.exporting import write_format
from engine.families.exchange.importing import check_fit, convert
from engine.families.lora import activate_adapter
from engine.families.lora_files import SECOND_FILE, write_parts
from engine.families.registry import family_class
from engine.seeds import generator_for

RANK, ALPHA = 2, 6
WAN_NAMES = {"attn1.": "self_attn.", "attn2.": "cross_attn.", "to_out.0": "o", "to_q": "q", "to_k": "k", "to_v": "v"}
WAN_NAMES |= {"ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}


def lora_of(tiny: SimpleNamespace, *further: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The toy family under a LoRA of rank 2 and alpha 6, and that LoRA's tensors by the network's names.

    Motion layers are left out, which no LoRA for Stable Diffusion has.
    """
    family = tiny.open()
    targets = [*family.spec.lora_targets, *further]
    torch.manual_seed(0)
    has_motion = any("motion_modules" in name for name, _ in family.network.named_modules())
    kind = {"r": RANK, "lora_alpha": ALPHA, "exclude_modules": r".*motion_modules.*" if has_motion else None}
    config = LoraConfig(target_modules=targets, init_lora_weights=False, **kind)
    family.network.add_adapter(config, adapter_name="made")
    return family, get_peft_model_state_dict(family.network, adapter_name="made")


def velocity(family: Any, tiny: SimpleNamespace) -> torch.Tensor:
    from dataclasses import replace

    request = tiny.model.request
    noise = family.init_latents(request, [generator_for(3)])
    places, words = tiny.model.places, family.encode(["a star"])
    given = family.encode_pictures(tiny.model.pictures(1), places, request.num_frames) if places else {}
    words = replace(words, fps=request.fps, guidance=1.0, extras={**(words.extras or {}), **given})
    with torch.no_grad():
        return family.predict(noise, torch.tensor([0.5]), words)


def alphas(tensors: dict[str, torch.Tensor], mark: str) -> dict[str, torch.Tensor]:
    return {key.split(mark)[0] + ".alpha": torch.tensor(float(ALPHA)) for key in tensors}


def in_wans_own_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    named = {}
    for key, tensor in tensors.items():
        for theirs, own in WAN_NAMES.items():
            key = key.replace(theirs, own)
        named[key] = tensor
    return named


def comfyui_wan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"diffusion_model.{key}": tensor for key, tensor in in_wans_own_names(tensors).items()}


def comfyui(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"diffusion_model.{key}": tensor for key, tensor in tensors.items()}


def peft(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"base_model.model.{key}": tensor for key, tensor in tensors.items()}


def down_up(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): t for key, t in tensors.items()}
    return {f"transformer.{key}": tensor for key, tensor in renamed.items()}


def kohya(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    named = {}
    for key, tensor in tensors.items():
        layer, side = key.split(".lora_")
        end = {"A.weight": "lora_down.weight", "B.weight": "lora_up.weight"}[side]
        named[f"lora_unet_{layer.replace('.', '_')}.{end}"] = tensor
    return named


def kohya_wan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return kohya(in_wans_own_names(tensors))


def onetrainer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.replace("lora_unet_", "lora_transformer_"): tensor for key, tensor in kohya(tensors).items()}


def diffsynth_wan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """No prefix, and PEFT's name of the adapter in the key."""
    return {key.replace(".weight", ".default.weight"): t for key, t in in_wans_own_names(tensors).items()}


def processors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """diffusers before 0.22: LoRAs were attention processors, and the output layer's name had no number."""
    sides = {".lora_A": "_lora.down", ".lora_B": "_lora.up"}
    named = {}
    for key, tensor in tensors.items():
        for side, older in sides.items():
            key = key.replace("to_out.0", "to_out").replace(".to_", ".processor.to_").replace(side, older)
            key = key.replace(".processor.processor", ".processor")
        named[f"unet.{key}"] = tensor
    return named


WAN_FFN = ("ffn.net.0.proj", "ffn.net.2")
FORMS = [
    ("wan", comfyui_wan, WAN_FFN),
    ("wan", kohya_wan, WAN_FFN),
    ("wan", kohya_wan, ()),
    ("wan", onetrainer, ()),
    ("wan", diffsynth_wan, ()),
    ("wan", peft, ()),
    ("wan", down_up, ()),
    ("wan_vace_without_pictures", peft, ()),
    ("ltx_condition_without_pictures", comfyui, ()),
    ("ltx2", comfyui, ()),
    ("ltx2", kohya, ()),
    ("animatediff", kohya, ()),
    ("animatediff", processors, ()),
    ("cogvideox", peft, ()),
    ("cogvideox", onetrainer, ()),
    ("hunyuanvideo", peft, ()),
    ("hunyuanvideo", onetrainer, ("proj_mlp", "proj_out", "add_q_proj", "ff.net.0.proj")),
]


ROWS = [(*row, told) for row in FORMS for told in (True, False) if not (told and row[1] is processors)]
OF_EACH_FAMILY = ["ltx", "ltx_condition", "ltx2", "wan", "wan_ti2v", "wan_i2v", "wan_flf", "wan_vace", "cogvideox"]
OF_EACH_FAMILY += ["hunyuanvideo", "animatediff", "animatediff_sparsectrl", "skyreels_v2", "hunyuanvideo15"]
OF_EACH_FAMILY += ["hunyuanvideo15_i2v", "kandinsky5", "mochi", "cogvideox15", "sana_video"]
LONG_ROWS = [(toy, form, (), True) for toy in OF_EACH_FAMILY for form in (comfyui, kohya, peft, down_up)]


@pytest.mark.double("import", "form")
@pytest.mark.parametrize(
    ("tiny", "form", "further", "states_alpha"),
    [
        *(pytest.param(*row, id=f"{row[0]}-{row[1].__name__}-{row[3]}") for row in ROWS),
        *(
            pytest.param(*row, id=f"{row[0]}-{row[1].__name__}-long", marks=pytest.mark.slow)
            for row in LONG_ROWS
            if (*row[:3], True) not in ROWS
        ),
    ],
    indirect=["tiny"],
)
def test_a_file_of_another_form_makes_the_same_model(
    tiny: SimpleNamespace, form: Any, further: tuple[str, ...], states_alpha: bool, tmp_path: Path
) -> None:
    family, tensors = lora_of(tiny, *further)
    named = form({key: tensor.contiguous() for key, tensor in tensors.items()})
    if states_alpha:
        named |= alphas(named, ".lora_")
    save_file(named, tmp_path / "theirs.safetensors")
    parts = convert(tmp_path / "theirs.safetensors", family.spec, alpha=None if states_alpha else ALPHA)
    write_parts(tmp_path / "ours", parts)
    again = tiny.open()
    base = velocity(again, tiny)
    activate_adapter(again.network, "brought", tmp_path / "ours")
    wanted = velocity(family, tiny)
    assert (wanted - base).abs().max() > 1e-3
    assert (velocity(again, tiny) - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_alpha_is_asked_for_and_not_guessed(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    for form in (comfyui_wan, peft, down_up):
        save_file(form(dict(tensors)), tmp_path / "a.safetensors")
        with pytest.raises(FamilyError, match=r"does not state its alpha .*--alpha N`"):
            convert(tmp_path / "a.safetensors", family.spec)


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_alpha_beside_a_file_of_peft_counts(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    save_file(peft(dict(tensors)), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    lora = convert(tmp_path / "adapter_model.safetensors", family.spec)["transformer"]
    assert set(lora.alphas.values()) == {float(ALPHA)}
    for text in ("{", "[]", json.dumps({"lora_alpha": None}), json.dumps({"lora_alpha": 6, "use_dora": True})):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(FamilyError, match=r"states no readable lora_alpha|is a DoRA adapter"):
            convert(tmp_path / "adapter_model.safetensors", family.spec)


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_patterns_beside_a_file_of_peft_count(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """A rank, an alpha and a factor of its own for one kind of layers."""
    family, tensors = lora_of(tiny)
    other = {k: torch.randn(3, 24) if "lora_A" in k else torch.randn(24, 3) for k in tensors if ".attn2.to_q." in k}
    save_file(peft(tensors | other), tmp_path / "adapter_model.safetensors")
    config = {"r": RANK, "lora_alpha": ALPHA, "rank_pattern": {"attn2.to_q": 3}, "alpha_pattern": {"attn2.to_q": 12}}

    def alphas_with(**changes: Any) -> dict[str, float]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | changes))
        return dict(convert(tmp_path / "adapter_model.safetensors", family.spec)["transformer"].alphas)

    read = alphas_with()
    assert read["blocks.0.attn2.to_q"] == 12 and read["blocks.0.attn1.to_q"] == ALPHA
    assert alphas_with(use_rslora=True)["blocks.0.attn2.to_q"] == pytest.approx(12 * 3**0.5)
    with pytest.raises(FamilyError, match=r"says rank 2, but the tensors of 'blocks\.\d\.attn2\.to_q' have 3"):
        alphas_with(rank_pattern={})


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_kohyas_header_states_alpha_only_as_a_number(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    file = tmp_path / "a.safetensors"
    save_file(kohya_wan(dict(tensors)), file, metadata={"ss_network_alpha": "6.0"})
    assert set(convert(file, family.spec)["transformer"].alphas.values()) == {6.0}
    for text in ("None", "", "six", "0", "nan"):
        save_file(kohya_wan(dict(tensors)), file, metadata={"ss_network_alpha": text})
        with pytest.raises(FamilyError, match=r"ss_network_alpha in its header is '.*', but must be a .*--alpha N"):
            convert(file, family.spec)
        assert set(convert(file, family.spec, alpha=4)["transformer"].alphas.values()) == {4.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tiny", ["hunyuanvideo"], indirect=True)
def test_half_precision_stays(tiny: SimpleNamespace, dtype: torch.dtype, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    halves = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    save_file(halves, tmp_path / "a.safetensors")
    lora = convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA)["transformer"]
    assert all(torch.equal(lora.tensors[key], halves[key]) for key in halves)
    write_format(tmp_path, "b", {"transformer": lora}, family.spec, "comfyui")
    assert {tensor.dtype for tensor in load_file(tmp_path / "b.safetensors").values()} == {dtype}


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_what_contradicts_itself_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    whole = comfyui_wan(dict(tensors)) | alphas(comfyui_wan(dict(tensors)), ".lora_")
    save_file(whole, tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"states the alpha of its layers itself: leave --alpha out"):
        convert(tmp_path / "a.safetensors", family.spec, alpha=4)
    one = next(key for key in whole if key.endswith(".alpha"))
    save_file({key: tensor for key, tensor in whole.items() if key != one}, tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"states the alpha of 15 of its 16 layers"):
        convert(tmp_path / "a.safetensors", family.spec)


@pytest.mark.parametrize("tiny", ["cogvideox"], indirect=True)
def test_layers_with_underscores_must_be_the_models(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    named = kohya({key.replace("transformer_blocks", "joint_blocks"): tensor for key, tensor in tensors.items()})
    save_file(named, tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"has the layer 'joint_blocks_0_attn1_to_k', which this model does not have"):
        convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA)


@pytest.mark.parametrize("tiny", ["hunyuanvideo"], indirect=True)
def test_fused_layers_must_have_the_models_size(tiny: SimpleNamespace, tmp_path: Path) -> None:
    down, up = torch.ones(2, 20), torch.ones(50, 2)
    layer = "transformer.double_blocks.0.img_attn_qkv"
    whole = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}
    save_file(whole, tmp_path / "a.safetensors")
    spec = tiny.open().spec
    with pytest.raises(FamilyError, match=r"lora_B of 'double_blocks\.0\.img_attn_qkv' has 50 rows, .* has 60"):
        convert(tmp_path / "a.safetensors", spec, alpha=2)
    save_file({f"{layer}.lora_B.weight": up}, tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"img_attn_qkv' has only one of lora_A and lora_B"):
        convert(tmp_path / "a.safetensors", spec, alpha=2)


@pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)
def test_a_text_encoders_layers_are_left_out_only_where_that_is_said(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    whole = kohya(dict(tensors)) | {
        f"{text}.lora_down.weight": torch.ones(2, 8),
        f"{text}.lora_up.weight": torch.ones(8, 2),
    }
    save_file(whole | alphas(whole, ".lora_"), tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"also an adapter for a text encoder.*--network-only"):
        convert(tmp_path / "a.safetensors", family.spec)
    lora = convert(tmp_path / "a.safetensors", family.spec, network_only=True)["unet"]
    assert len(lora.ranks) == len(tensors) / 2


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_files_of_videox_fun_and_diffsynth_with_prefixes(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    for prefix, theirs in (("lora_unet_", kohya_wan(dict(tensors))), ("", in_wans_own_names(dict(tensors)))):
        new = "lora_unet__" if prefix else "pipe.dit."
        save_file({new + key.removeprefix(prefix): t for key, t in theirs.items()}, tmp_path / "a.safetensors")
        found = convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA)["transformer"].tensors
        assert found.keys() == tensors.keys() and all(found[key].equal(t) for key, t in tensors.items())


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_whole_differences_are_left_out_only_where_that_is_said(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    whole = comfyui_wan(dict(tensors))
    bias = min(whole).split(".lora_")[0] + ".diff_b"
    save_file({**whole, bias: torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(FamilyError, match=r"whole differences of layers .* --lora-only"):
        convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA)
    found = convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA, lora_only=True)["transformer"]
    assert found.tensors.keys() == tensors.keys()


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_settings_beside_a_file_of_any_form_state_its_alpha(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """As diffusion-pipe writes; those of another rank belong to another file."""
    family, tensors = lora_of(tiny)
    save_file(comfyui_wan(dict(tensors)), tmp_path / "a.safetensors")
    rank = len(next(t for key, t in tensors.items() if "lora_A" in key))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 5, "r": rank}))
    assert set(convert(tmp_path / "a.safetensors", family.spec)["transformer"].alphas.values()) == {5.0}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 5, "r": rank + 1}))
    with pytest.raises(FamilyError, match="does not state its alpha"):
        convert(tmp_path / "a.safetensors", family.spec)


@pytest.mark.parametrize("tiny", ["wan_experts"], indirect=True)
def test_fit_is_judged_without_reading_the_model(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    high = {k.removeprefix("high_noise."): t for k, t in tensors.items() if k.startswith("high_noise.")}
    save_file(comfyui_wan(high), tmp_path / SECOND_FILE)
    lora = convert(tmp_path / SECOND_FILE, family.spec, alpha=ALPHA)["transformer"]
    wan: Any = family_class("wan")
    assert check_fit(wan, str(tiny.folder), "x", {"transformer": lora, "transformer_2": lora})
    configured = tmp_path / "configured"
    for part in ("transformer", "transformer_2"):
        (configured / part).mkdir(parents=True)
        shutil.copy(tiny.folder / part / "config.json", configured / part)
    shutil.copy(tiny.folder / "model_index.json", configured)
    assert check_fit(wan, str(configured), "x", {"transformer": lora, "transformer_2": lora}), "no weights are needed"
    (configured / "transformer" / "config.json").rename(tmp_path / "config.json")
    assert check_fit(wan, str(configured), "x", {"transformer": lora}, {"transformer": str(tmp_path)})
    other = {key: tensor[:, :3] if "lora_A" in key else tensor for key, tensor in lora.tensors.items()}
    from dataclasses import replace

    with pytest.raises(FamilyError, match=r"'x' does not fit the model in .*is for size 3, the layer has 24"):
        check_fit(wan, str(tiny.folder), "x", {"transformer": lora, "transformer_2": replace(lora, tensors=other)})


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_a_second_experts_layers_need_a_second_expert(tiny: SimpleNamespace, tmp_path: Path) -> None:
    family, tensors = lora_of(tiny)
    save_file(comfyui_wan(dict(tensors)), tmp_path / "a.safetensors")
    lora = convert(tmp_path / "a.safetensors", family.spec, alpha=ALPHA)["transformer"]
    wan: Any = family_class("wan")
    with pytest.raises(FamilyError, match=r"'x' has layers for 'transformer_2', which the model in"):
        check_fit(wan, str(tiny.folder), "x", {"transformer_2": lora})
