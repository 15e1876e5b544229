"""A network in one file in its authors' layout gives the same predictions as the diffusers folder."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.own_models import count_parameters
from engine.errors import FamilyError
from engine.families.files import gguf_files
from engine.families.files.single_files import is_single_file
from engine.families.registry import family_class
from engine.family_interface import FamilyOptions
from engine.seeds import generator_for
from engine.training.weights import setup_lora, trainable

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


def test_what_is_a_single_file() -> None:
    assert is_single_file("/a/b.safetensors") and is_single_file("~/b.safetensors")
    assert is_single_file("owner/name/b.gguf")
    assert not is_single_file("owner/b.safetensors") and not is_single_file("/a/b")


def write_gguf(original: Path, file: Path, kind: str) -> Path:
    """Write a file's tensors as ComfyUI-GGUF's converter does: matrices quantised, others in float32, at most 4-D."""
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    writer, quantised = gguf.GGUFWriter(file, arch="wan"), gguf.GGMLQuantizationType[kind]
    for name, tensor in load_file(original).items():
        numbers = tensor.float().numpy()
        if numbers.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(numbers.shape))
            numbers = numbers.reshape(numbers.shape[0], -1)
        elif numbers.ndim == 2 and numbers.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quantize(numbers, quantised), raw_dtype=quantised)
            continue
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(("kind", "most"), [("F16", 1e-3), ("Q8_0", 0.02)])
@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_a_gguf_file_is_decoded(tiny: Any, tmp_path: Path, kind: str, most: float) -> None:
    """The prediction is near that of the folder, and an adapter's gradients are finite."""
    file = write_gguf(write_original(tiny.folder, tmp_path / "wan.safetensors"), tmp_path / "wan.gguf", kind)
    ours, plain = opened(tiny.folder, file), opened(tiny.folder, None)
    assert count_parameters(file) == sum(one.numel() for one in plain.network.parameters())
    words = replace(plain.encode(["a red circle"]), fps=8.0)
    latents = plain.init_latents(tiny.model.request, [generator_for(1)])
    setup_lora(ours.network, ours.spec.lora_targets, rank=2, alpha=None, seed=0)
    near, exact = (family.predict(latents, torch.tensor([0.5]), words) for family in (ours, plain))
    assert 0 < (near - exact).norm() / exact.norm() < most
    near.pow(2).mean().backward()
    gradients = [parameter.grad for _, parameter in trainable(ours.network) if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("tiny", ["wan"], indirect=True)
def test_a_gguf_file_that_cannot_be_read_is_one_sentence(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wan.gguf"
    file.write_bytes(b"no gguf")
    if importlib.util.find_spec("gguf") is not None:
        with pytest.raises(FamilyError, match=r"wan\.gguf' cannot be read as GGUF .*: download it again\."):
            opened(tiny.folder, file)
    monkeypatch.setattr(gguf_files, "LIBRARY", "library_that_is_not_here")
    with pytest.raises(FamilyError, match=r"is not installed: `pip install -e '.\[gguf\]'`"):
        opened(tiny.folder, file)
