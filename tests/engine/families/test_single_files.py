"""A network in one file in its authors' layout gives the same predictions as the diffusers folder."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import FamilyError
from engine.families.files.single_files import is_single_file
from engine.families.registry import family_class
from engine.model_spec import FamilyOptions
from engine.seeds import generator_for

# From diffusers' names to those of Wan's authors; the reverse is in scripts/convert_wan_to_diffusers.py of
# huggingface/diffusers. ComfyUI's files have the prefix "model.diffusion_model.".
WAN = (
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^scale_shift_table", "head.modulation"),
    (r"^proj_out", "head.head"),
    (r"\.scale_shift_table", ".modulation"),
    (r"\.ffn\.net\.0\.proj", ".ffn.0"),
    (r"\.ffn\.net\.2", ".ffn.2"),
    (r"\.norm2\.", ".norm3."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
)


def write_original(folder: Path, file: Path, prefix: str = "model.diffusion_model.") -> Path:
    """Write the transformer of a diffusers folder in the layout of Wan's authors."""
    tensors = {}
    for name, tensor in load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors").items():
        for pattern, replacement in WAN:
            name = re.sub(pattern, replacement, name)
        tensors[prefix + name] = tensor.contiguous()
    save_file(tensors, file)
    return file


def opened(folder: Path, file: Path | None, dtype: torch.dtype = torch.float32) -> Any:
    family = family_class("wan")(str(folder), FamilyOptions(parts={"transformer": str(file)} if file else {}))
    family.load("cpu", dtype)
    return family


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_a_file_in_comfyuis_layout_predicts_as_the_folder(tiny: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    ours = opened(tiny.folder, write_original(tiny.folder, tmp_path / "wan.safetensors"), dtype)
    plain = opened(tiny.folder, None, dtype)
    for name, tensor in plain.network.state_dict().items():
        assert ours.network.state_dict()[name].dtype == tensor.dtype, name
        assert torch.equal(ours.network.state_dict()[name], tensor), name
    latents = plain.init_latents(tiny.model.request, [generator_for(0)])
    words, level = plain.encode(["a red ball"]), torch.tensor([0.5])
    with torch.no_grad():
        found, expected = ours.predict(latents, level, words), plain.predict(latents, level, words)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_what_does_not_fit_is_one_sentence(tiny: Any, tmp_path: Path) -> None:
    whole = load_file(write_original(tiny.folder, tmp_path / "whole.safetensors"))
    lacking = {name: tensor for name, tensor in whole.items() if "blocks.1" not in name}
    eight = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in whole.items()}
    holes = {name: torch.full_like(tensor, torch.nan) for name, tensor in whole.items()}
    for name, tensors, sentence in (
        ("lacking", lacking, "does not fit the transformer of"),
        ("eight", eight, "is quantised: tensor .* is F8_E4M3"),
        ("holes", holes, "holds NaN or infinity"),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(FamilyError, match=sentence):
            opened(tiny.folder, tmp_path / f"{name}.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:50])
    with pytest.raises(FamilyError, match="cannot be read as .safetensors"):
        opened(tiny.folder, tmp_path / "torn.safetensors")


def test_only_a_path_is_a_single_file() -> None:
    assert is_single_file("/a/b.safetensors") and is_single_file("~/b.safetensors")
    assert not is_single_file("owner/name/b.safetensors") and not is_single_file("/a/b")
