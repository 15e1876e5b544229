"""LoRA on the toy model: on, off, unloaded, and refused where it does not fit."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.errors import FamilyError
from engine.families.lora import (
    activate_adapter,
    activate_adapters,
    find_mismatches,
    is_active,
    load_adapter,
    loaded_adapters,
    save_adapter,
    unload_adapter,
)
from engine.families.lora_files import WEIGHTS_FILE
from engine.request import GenerationRequest
from engine.seeds import generator_for

REQUEST = GenerationRequest(prompt="a red circle", num_frames=9, width=32, height=32)
NAME = "run-3/step 40.5"


@pytest.fixture(scope="module")
def family(tiny_folder: Path, open_family: Any) -> Any:
    return open_family(tiny_folder)


@pytest.fixture
def bare(family: Any) -> Iterator[Any]:
    """The family without any adapter, before and after."""
    yield family
    for name in loaded_adapters(family.network):
        unload_adapter(family.network, name)


@pytest.fixture
def adapter(tiny_lora: Path) -> Path:
    """A folder with a LoRA that changes the network much."""
    return tiny_lora


def output(family: Any) -> torch.Tensor:
    latents = family.init_latents(REQUEST, [generator_for(1)])
    return family.predict(latents, torch.tensor([0.5]), replace(family.encode(["a red circle"]), fps=8.0))


def read(adapter: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of an adapter by the network's names, and its header."""
    with safe_open(adapter / WEIGHTS_FILE, framework="pt") as opened:
        header = opened.metadata()
    return {k.removeprefix("transformer."): v for k, v in load_file(adapter / WEIGHTS_FILE).items()}, header


def halved(adapter: Path, folder: Path, *, lacks: str = "", rank: int | None = None) -> Path:
    """A copy of the adapter without the keys that have `lacks` in them, or with another `rank` of every lora_A."""
    tensors, header = read(adapter)
    kept = {key: tensor for key, tensor in tensors.items() if not lacks or lacks not in key}
    if rank is not None:
        kept = {key: torch.ones(rank, *old.shape[1:]) if "lora_A" in key else old for key, old in kept.items()}
    folder.mkdir()
    save_file(kept, folder / WEIGHTS_FILE, metadata=header)
    return folder


def rewritten(
    adapter: Path, folder: Path, rename: dict[str, str] | None = None, alpha: float = 2, **changed: torch.Tensor
) -> Path:
    """A copy of the adapter with parts of its keys renamed, or tensors (by the end of their key) replaced; its alpha in
    tensors of its own.
    """
    tensors = {}
    for key, tensor in read(adapter)[0].items():
        for old, new in (rename or {}).items():
            key = key.replace(old, new)
        tensors[key] = next((value.clone() for end, value in changed.items() if key.endswith(end)), tensor)
        tensors[key.split(".lora_")[0] + ".alpha"] = torch.tensor(float(alpha))
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS_FILE)
    return folder


def test_on_off_and_unloaded(bare: Any, adapter: Path) -> None:
    base = output(bare)
    load_adapter(bare.network, NAME, adapter)
    changed = output(bare)
    assert (changed - base).abs().max() > 1e-2
    assert is_active(bare.network, {NAME: 1}) and not is_active(bare.network, {})
    activate_adapter(bare.network, None)
    assert torch.equal(output(bare), base)
    assert is_active(bare.network, {}) and loaded_adapters(bare.network)
    activate_adapter(bare.network, NAME)
    assert torch.equal(output(bare), changed)
    unload_adapter(bare.network, NAME)
    assert torch.equal(output(bare), base)
    assert loaded_adapters(bare.network) == [] and is_active(bare.network, {})


def test_the_saved_scale_is_used(bare: Any, adapter: Path, tmp_path: Path) -> None:
    """alpha / r = 4 is in the file's header; .alpha tensors of 2 at rank 2 give the plain scale of 1."""
    base = output(bare)
    activate_adapter(bare.network, "scaled", adapter)
    scaled = output(bare)
    activate_adapter(bare.network, "plain", rewritten(adapter, tmp_path / "plain"))
    plain = output(bare)
    assert (scaled - base).norm() > 1.5 * (plain - base).norm() > 0


def test_one_adapter_at_a_time(bare: Any, adapter: Path, tmp_path: Path) -> None:
    other = rewritten(adapter, tmp_path / "other", **{"to_q.lora_B.weight": torch.zeros(24, 2)})
    activate_adapter(bare.network, "first", adapter)
    first = output(bare)
    activate_adapter(bare.network, "second", other)
    assert is_active(bare.network, {"second": 1}) and not is_active(bare.network, {"first": 1})
    assert not torch.allclose(output(bare), first, atol=1e-4)
    activate_adapter(bare.network, "first")
    assert torch.equal(output(bare), first)
    unload_adapter(bare.network, "first")
    assert is_active(bare.network, {}), "what is left stays off until it is asked for"


def test_several_adapters_add_up_at_their_scales(bare: Any, adapter: Path, tmp_path: Path) -> None:
    """As one LoRA whose matrices are those of both, one below the other."""
    torch.manual_seed(0)
    second = rewritten(adapter, tmp_path / "second", **{"lora_B.weight": torch.randn(24, 2)})
    (first, _), (other, _) = read(adapter), read(second)
    both = {}
    for key, tensor in first.items():
        if "lora_A" in key:
            both[key] = torch.cat([tensor, other[key]])
        else:  # alpha / r of the first is 4, of the second 1
            both[key] = torch.cat([0.8 * 4 * tensor, -0.5 * other[key]], dim=1)
    (tmp_path / "both").mkdir()
    save_file(
        both | {f"{key.split('.lora_')[0]}.alpha": torch.tensor(4.0) for key in both}, tmp_path / "both" / WEIGHTS_FILE
    )
    activate_adapter(bare.network, "both", tmp_path / "both")
    wanted = output(bare)
    scales, folders = {"first": 0.8, "second": -0.5}, {"first": adapter, "second": second}
    activate_adapters(bare.network, scales, folders)
    assert (output(bare) - wanted).abs().max() <= 1e-5
    assert is_active(bare.network, scales) and not is_active(bare.network, scales | {"first": 1})
    activate_adapters(bare.network, {"first": 1}, folders)
    alone = output(bare)
    assert (alone - wanted).abs().max() > 1e-3 and is_active(bare.network, {"first": 1})
    torn = halved(adapter, tmp_path / "torn", lacks=".lora_B")
    with pytest.raises(FamilyError, match="has no lora_B"):
        activate_adapters(bare.network, {"second": 1, "third": 1}, {"second": second, "third": torn})
    assert torch.equal(output(bare), alone), "what cannot be used changes nothing"
    with pytest.raises(FamilyError, match="'third' is not loaded: pass the folder"):
        activate_adapters(bare.network, {"first": 1, "third": 1}, {})


def test_other_weights_under_the_same_name_are_read(bare: Any, adapter: Path, tmp_path: Path) -> None:
    """As when a run was extended. What does not fit leaves the one that is loaded."""
    folder = rewritten(adapter, tmp_path / "one")
    activate_adapter(bare.network, NAME, folder)
    before = output(bare)
    activate_adapter(bare.network, NAME, folder)
    assert torch.equal(output(bare), before)
    newer = rewritten(adapter, tmp_path / "newer", **{"to_q.lora_B.weight": torch.zeros(24, 2)})
    os.replace(newer / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    activate_adapter(bare.network, NAME, folder)
    after = output(bare)
    assert (after - before).abs().max() > 1e-4 and len(loaded_adapters(bare.network)) == 1
    misfit = rewritten(adapter, tmp_path / "misfit", {"transformer_blocks.1.": "transformer_blocks.7."})
    with pytest.raises(FamilyError, match="does not fit"):
        activate_adapter(bare.network, NAME, misfit)
    assert torch.equal(output(bare), after)


def test_keys_of_whole_pipelines_fit_too(bare: Any, adapter: Path, tmp_path: Path) -> None:
    activate_adapter(bare.network, "a", rewritten(adapter, tmp_path / "plain"))
    plain = output(bare)
    activate_adapter(
        bare.network, "b", rewritten(adapter, tmp_path / "x", {"transformer_bl": "transformer.transformer_bl"})
    )
    assert torch.equal(output(bare), plain)


def test_layers_that_the_model_lacks_are_listed(bare: Any, adapter: Path, tmp_path: Path) -> None:
    base = output(bare)
    folder = rewritten(adapter, tmp_path / "x", {"transformer_blocks.1.": "transformer_blocks.7."})
    with pytest.raises(FamilyError, match=r"'transformer_blocks\.7\..*' has no layer here; .* and \d+ more"):
        load_adapter(bare.network, "x", folder)
    assert loaded_adapters(bare.network) == [] and torch.equal(output(bare), base)


def test_sizes_that_do_not_fit_are_listed(bare: Any, adapter: Path) -> None:
    weights, _ = read(adapter)
    assert find_mismatches(bare.network, weights) == []
    key = next(key for key in weights if key.endswith("to_q.lora_A.weight"))
    assert find_mismatches(bare.network, {key: torch.zeros(2, 99)}) == [f"'{key}' is for size 99, the layer has 24"]
    assert find_mismatches(bare.network, {key: torch.full((2, 24), torch.nan)}) == [f"'{key}' holds NaN or infinity"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        ({"rank": 3}, r"lora_A\.weight' has rank 3, but '.*lora_B\.weight' has 2"),
        ({"lacks": ".lora_B"}, r"lora_A\.weight' has no lora_B; .* and \d+ more"),
        ({"lacks": ".lora_A"}, r"lora_B\.weight' has no lora_A; .* and \d+ more"),
        (
            {"lacks": "transformer_blocks.1.attn1.to_q.lora_B"},
            r"1\.attn1\.to_q\.lora_A\.weight' has no lora_B\.",
        ),
    ],
    ids=["ranks", "only A", "only B", "one B missing"],
)
def test_each_layer_needs_both_tensors_of_one_rank(
    bare: Any, adapter: Path, tmp_path: Path, harm: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FamilyError, match=sentence):
        load_adapter(bare.network, "x", halved(adapter, tmp_path / "x", **harm))
    assert loaded_adapters(bare.network) == []


def test_tensors_of_other_dimensions_are_listed(bare: Any, adapter: Path) -> None:
    key = next(key for key in read(adapter)[0] if key.endswith("to_q.lora_A.weight"))
    assert find_mismatches(bare.network, {key: torch.ones(24)}) == [f"'{key}' has 1 dimensions, the layer has 2"]


@pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)
def test_what_a_pipeline_with_a_unet_writes_fits_too(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """The same tensors and settings from diffusers' own writer as from ours."""
    family = tiny.open()
    targets = list(family.spec.lora_targets)
    family.network.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=targets, init_lora_weights=False), "made")
    save_adapter(family.network, "made", tmp_path / "ours")
    settings = family.network.peft_config["made"].to_dict()
    layers = get_peft_model_state_dict(family.network, adapter_name="made")
    type(tiny.pipeline).save_lora_weights(tmp_path / "theirs", layers, unet_lora_adapter_metadata=settings)
    unload_adapter(family.network, "made")
    assert all(key.startswith("unet.") for key in load_file(tmp_path / "theirs" / WEIGHTS_FILE))
    read = []
    for folder in ("ours", "theirs"):
        activate_adapter(family.network, folder, tmp_path / folder)
        read.append(get_peft_model_state_dict(family.network, adapter_name=folder))
        assert family.network.peft_config[folder].lora_alpha == 8
    assert set(read[0]) == set(read[1]) and all(torch.equal(read[0][key], read[1][key]) for key in read[0])


def test_fit_is_judged_the_same_with_another_adapter_loaded(bare: Any, adapter: Path) -> None:
    activate_adapter(bare.network, "first", adapter)
    assert find_mismatches(bare.network, read(adapter)[0]) == []


def test_folders_without_an_adapter_are_refused(bare: Any, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="holds 0 safetensors files"):
        load_adapter(bare.network, "x", tmp_path / "nowhere")
    (tmp_path / WEIGHTS_FILE).write_bytes(b"not safetensors")
    with pytest.raises(FamilyError, match="cannot be read"):
        load_adapter(bare.network, "x", tmp_path)
    save_file({}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(FamilyError, match="holds no tensors"):
        load_adapter(bare.network, "x", tmp_path)


def test_asking_for_what_is_not_loaded(bare: Any, adapter: Path) -> None:
    with pytest.raises(FamilyError, match="Adapter 'x' is not loaded: pass the folder"):
        activate_adapter(bare.network, "x")
    with pytest.raises(FamilyError, match="Adapter 'x' is not loaded"):
        unload_adapter(bare.network, "x")
    load_adapter(bare.network, "x", adapter)
    with pytest.raises(FamilyError, match="loaded already"):
        load_adapter(bare.network, "x", adapter)
