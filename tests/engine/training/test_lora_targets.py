"""Layers of the LoRA chosen by the preset, with ranks of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.families.lora import load_adapter
from engine.families.lora_files import read_parts
from engine.runs.run import Run
from engine.training.main import Recorder, train
from engine.training.weights import ADAPTER, setup_lora
from engine.workspace import Workspace

TARGETS = ("to_q", "to_v")


def test_a_run_trains_and_exports_the_chosen_layers(preset: str, space: Workspace, tmp_path: Path) -> None:
    """Rank 2 and alpha 3, so every layer has the factor 1.5."""
    settings = {"lora_targets": "attn1.to_q, ff.net.2=5", "lora_rank": 2, "lora_alpha": 3, "max_steps": 2}
    run = Run.create(space, load_train_preset(preset, {"settings": settings | {"learning_rate": 1e-2}}))
    assert train(run, Recorder(run))
    lora = read_parts(run.adapter)["transformer"]
    assert {name.split(".", 2)[2] for name in lora.ranks} == {"attn1.to_q", "ff.net.2"}
    assert all(rank == (5 if name.endswith("ff.net.2") else 2) for name, rank in lora.ranks.items())
    assert {lora.alphas[name] / rank for name, rank in lora.ranks.items()} == {1.5}
    learnt = [name for name in lora.ranks if lora.tensors[f"{name}.lora_B.weight"].any()]
    assert len(learnt) == len(lora.ranks), "all of them are trained"
    run.export(tmp_path / "out", "comfyui")
    written = load_file(tmp_path / "out" / f"{run.id}.safetensors")
    assert written.keys() == {f"diffusion_model.{key}" for key in lora.tensors}


def test_without_a_choice_the_familys_layers_are_trained(open_tiny: Callable[[], Any]) -> None:
    network = open_tiny().network
    assert not setup_lora(network, TARGETS, rank=2, alpha=None, seed=0)
    plain = {name for name, p in network.named_parameters() if p.requires_grad}
    other = open_tiny().network
    setup_lora(other, ("to_k",), rank=2, alpha=None, seed=0, chosen=" ".join(TARGETS))
    assert plain == {name for name, p in other.named_parameters() if p.requires_grad}
    both = (dict(one.named_parameters()) for one in (network, other))
    first, second = ({name: values[name] for name in plain} for values in both)
    assert all(torch.equal(first[name], second[name]) for name in plain)


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ("to_qq", r"names 'to_qq', which no layer of the network ends with\. Did you mean '(attn\d\.)?to_q'"),
        ("o_q", r"names 'o_q', which no layer"),
        ("norm_q", r"names 'norm_q', which no layer"),
        ("", r"names no layer"),
        (" , ", r"names no layer"),
        ("to_q=0", r"gives 'to_q' the rank '0': use a number from 1 to 4,096"),
        ("to_q=x", r"gives 'to_q' the rank 'x'"),
        ("to_q=99999", r"gives 'to_q' the rank '99999'"),
    ],
)
def test_what_cannot_be_chosen_is_a_sentence(open_tiny: Callable[[], Any], chosen: str, sentence: str) -> None:
    network = open_tiny().network.requires_grad_(True)
    with pytest.raises(ConfigError, match=sentence):
        setup_lora(network, TARGETS, rank=2, alpha=None, seed=0, chosen=chosen)
    assert not hasattr(network, "peft_config"), "what is refused changes nothing"
    assert all(p.requires_grad for p in network.parameters())


def test_an_initial_adapter_keeps_its_layers(open_tiny: Callable[[], Any], tiny_lora: Path) -> None:
    network = open_tiny().network
    load_adapter(network, ADAPTER, tiny_lora)
    with pytest.raises(ConfigError, match="begins with a LoRA, which keeps its layers: leave lora_targets out"):
        setup_lora(network, TARGETS, rank=2, alpha=None, seed=0, chosen="to_q")


def test_the_whole_network_has_no_targets(preset: str, space: Workspace) -> None:
    run = Run.create(space, load_train_preset(preset, {"settings": {"lora_targets": "to_q", "lora_rank": 0}}))
    with pytest.raises(ConfigError, match="lora_targets has no effect with lora_rank = 0"):
        train(run, Recorder(run))
