"""Files that other programs wrote, or that were damaged: one sentence each, and the network is as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import FamilyError
from engine.families.exchange.formats import form_of
from engine.families.lora import load_adapter, loaded_adapters, unload_adapter
from engine.families.lora_files import METADATA_KEY, WEIGHTS_FILE, read_parts

LAYER = "transformer.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def network(tiny_folder: Path, open_family: Any) -> Any:
    return open_family(tiny_folder).network


@pytest.fixture
def bare(network: Any) -> Iterator[Any]:
    yield network
    for name in loaded_adapters(network):
        unload_adapter(network, name)


Write = Callable[..., Path]


@pytest.fixture
def write(tiny_lora: Path, tmp_path: Path) -> Write:
    """`write(settings)`: the toy's LoRA (rank 2) with this header; `tensors` are added, or taken away where None."""

    def write_one(settings: Any = None, tensors: dict[str, Any] | None = None, text: str | None = None) -> Path:
        header = (
            {} if settings is None and text is None else {METADATA_KEY: json.dumps(settings) if text is None else text}
        )
        whole = {**load_file(tiny_lora / WEIGHTS_FILE), **(tensors or {})}
        kept = {key: value for key, value in whole.items() if value is not None}
        save_file(kept, tmp_path / WEIGHTS_FILE, metadata=header)
        return tmp_path

    return write_one


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (None, r"does not state its alpha .*--alpha N`, where N is .* \(its rank, 2,"),
        ({"r": 2}, r"does not state its alpha"),
        ({"r": 2, "lora_alpha": None}, r"does not state its alpha"),
        ({"r": 8, "lora_alpha": 8}, r"its header says rank 8, but the tensors of '.*' have 2\."),
        ({"r": "two", "lora_alpha": 8}, r"its header says rank 'two', but the tensors"),
        ({"r": 2, "lora_alpha": "8"}, r"lora_alpha is '8', but must be a finite number other than 0"),
        ({"r": 2, "lora_alpha": True}, r"lora_alpha is True, but must be"),
        ({"r": 2, "lora_alpha": float("nan")}, r"lora_alpha is nan, but must be"),
        ({"r": 2, "lora_alpha": 0}, r"lora_alpha is 0, but must be"),
        ({"r": 2, "lora_alpha": [8]}, r"lora_alpha is \[8\], but must be"),
        ({"r": 2, "lora_alpha": 8, "alpha_pattern": [1]}, r"alpha_pattern in its header is \[1\], no table"),
        ([1, 2], r"is no JSON object"),
        ("eight", r"is no JSON object"),
    ],
)
def test_headers_that_cannot_be_used(bare: Any, write: Write, settings: Any, sentence: str) -> None:
    with pytest.raises(FamilyError, match=sentence):
        load_adapter(bare, "x", write(settings))
    assert loaded_adapters(bare) == []


@pytest.mark.parametrize("text", ["{", "", "{'r': 2}", "\u2028"])
def test_a_header_that_is_no_json(bare: Any, write: Write, tmp_path: Path, text: str) -> None:
    with pytest.raises(FamilyError, match=r"the LoRA metadata in its header is no JSON \("):
        load_adapter(bare, "x", write(text=text))
    assert loaded_adapters(bare) == []


def test_fields_of_newer_writers_do_no_harm(bare: Any, write: Write) -> None:
    """PEFT's settings grow with each version; only those that say how strong the layers are count."""
    settings = {"r": 2, "lora_alpha": 8, "a_field_of_2030": {"x": 1}, "peft_version": "9.0", "target_modules": None}
    load_adapter(bare, "x", write({f"transformer.{key}": value for key, value in settings.items()}))
    assert bare.peft_config["x"].lora_alpha == 8


def test_rank_stabilised_lora_has_its_own_factor(bare: Any, write: Write) -> None:
    """alpha / sqrt(r) (arXiv:2312.03732, equation 3)."""
    load_adapter(bare, "x", write({"r": 2, "lora_alpha": 8, "use_rslora": True}))
    layer = bare.transformer_blocks[0].attn1.to_q
    assert layer.scaling["x"] == pytest.approx(8 / 2**0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_load(bare: Any, write: Write, tiny_lora: Path, dtype: torch.dtype) -> None:
    halves = {key: value.to(dtype) for key, value in load_file(tiny_lora / WEIGHTS_FILE).items()}
    load_adapter(bare, "x", write({"r": 2, "lora_alpha": 8}, halves))
    layer = bare.transformer_blocks[0].attn1.to_q
    assert torch.equal(layer.lora_A["x"].weight.float(), halves[f"{LAYER}.lora_A.weight"].float())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: b"", r"cannot be read"),
        (lambda data: data[:4], r"cannot be read"),
        (lambda data: data[:200], r"cannot be read"),
        (lambda data: data[:-7], r"cannot be read"),
        (lambda data: b"PK\x03\x04" + data, r"cannot be read"),
        (lambda data: (2**40).to_bytes(8, "little") + data[8:], r"cannot be read"),
        (lambda data: data[:8] + b"[" + data[9:], r"cannot be read"),
    ],
    ids=["empty", "4 bytes", "header torn", "data torn", "a zip", "header too long", "header no JSON"],
)
def test_damaged_files(bare: Any, write: Write, spoil: Any, sentence: str) -> None:
    file = write({"r": 2, "lora_alpha": 8}) / WEIGHTS_FILE
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(FamilyError, match=sentence):
        load_adapter(bare, "x", file.parent)
    assert loaded_adapters(bare) == []


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (f"{LAYER}.dora_scale", "is a DoRA adapter"),
        (f"{LAYER}.lora_magnitude_vector", "is a DoRA adapter"),
        ("lycoris_blocks_0.lokr_w1", "is a LoKr adapter"),
        ("lora_unet_blocks_0.hada_w1_a", "is a LyCORIS adapter"),
        ("diffusion_model.blocks.0.norm3.diff", "whole differences of layers"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "in ComfyUI's format"),
        ("lora_unet_blocks_0_self_attn_q.lora_down.weight", "in kohya's format"),
        ("base_model.model.blocks.0.attn1.to_q.lora_A.weight", "in PEFT's own form"),
        ("transformer.blocks.0.attn1.to_q.lora_down.weight", "in an older format of diffusers"),
        ("text_encoder.encoder.layers.0.q_proj.lora_A.weight", "also an adapter for a text encoder"),
    ],
)
def test_other_forms_are_named(bare: Any, write: Write, key: str, sentence: str) -> None:
    with pytest.raises(FamilyError, match=sentence) as refused:
        load_adapter(bare, "x", write({"r": 2, "lora_alpha": 8}, {key: torch.ones(2, 24)}))
    assert "trained on this model" not in str(refused.value)
    assert loaded_adapters(bare) == []


def test_a_models_own_weights_are_no_adapter(bare: Any, tmp_path: Path) -> None:
    save_file({"transformer_blocks.0.attn1.to_q.weight": torch.ones(24, 24)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(FamilyError, match=r"is no adapter: none of its tensors belongs to a LoRA"):
        load_adapter(bare, "x", tmp_path)


def test_a_key_that_no_layer_has_is_named(bare: Any, write: Write) -> None:
    extra = {"transformer.blocks.9.extra.lora_A.weight": torch.ones(2, 24), "global_step": torch.ones(1)}
    with pytest.raises(FamilyError, match=r"'blocks\.9\.extra\.lora_A\.weight' has no layer here"):
        load_adapter(bare, "x", write({"r": 2, "lora_alpha": 8}, extra))


def test_a_pair_of_experts_is_not_for_one_network(bare: Any, write: Write) -> None:
    key = "transformer_2.blocks.0.attn1.to_q"
    extra = {f"{key}.lora_A.weight": torch.ones(2, 24), f"{key}.lora_B.weight": torch.ones(24, 2)}
    with pytest.raises(FamilyError, match=r"layers for a second expert \(transformer_2\)"):
        load_adapter(bare, "x", write({"transformer.lora_alpha": 8, "transformer_2.lora_alpha": 8}, extra))


def test_plain_keys_have_no_form() -> None:
    assert form_of(["transformer.a.lora_A.weight", "transformer.a.alpha"]) is None


def test_alpha_of_the_header_counts_for_its_network(write: Write) -> None:
    parts = read_parts(write({"transformer.lora_alpha": 8, "text_encoder.lora_alpha": 2, "transformer.r": 2}))
    assert set(parts["transformer"].alphas.values()) == {8.0}
