"""Adapters on frozen weights in 8 bits: two updates change the adapter alone, and the forecast knows the weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.presets import load_model_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.estimation.memory import GIB
from engine.estimation.model_forecast import forecast_model
from engine.families.registry import open_model
from engine.family_interface import FamilyOptions
from engine.generation.validation import check_storage
from tests.engine.training.test_trainers import logged, make

KINDS = ("float8", "int8")


def stored_mini(weights: str) -> ModelPreset:
    if weights == "int8":
        pytest.importorskip("torchao", reason="the extra `quantization` is not installed")
    return load_model_preset("mini").model_copy(update={"weights": weights})


def contents(weight: Any) -> torch.Tensor:
    """The stored numbers of a weight."""
    return weight.qdata if hasattr(weight, "qdata") else weight.float()


@pytest.mark.parametrize(("kind", "weights"), [("dpo", "float8"), ("dpo", "int8"), ("grpo", "int8")])
def test_two_updates_change_the_adapter_and_not_the_base(kind: str, weights: str, tmp_path: Path) -> None:
    family = open_model(stored_mini(weights), "cpu")
    network: Any = family.network
    before = {name: contents(parameter).detach().clone() for name, parameter in network.named_parameters()}
    trainer = make(kind, family, tmp_path, max_steps=2, gradient_checkpointing=True, save_strategy="no")
    trainer.train()
    steps = logged(trainer, "grad_norm")
    assert len(steps) == 2 and all(0 < step < float("inf") for step in steps)
    moved = 0
    for name, parameter in network.named_parameters():
        if "lora" in name:
            assert parameter.isfinite().all(), name
            moved += "lora_B" in name and bool(parameter.abs().sum() > 0)
        else:
            assert torch.equal(contents(parameter), before[name.replace(".base_layer", "")]), name
    assert moved


@pytest.mark.parametrize("weights", KINDS)
def test_the_forecast_is_of_the_stored_weights(weights: str) -> None:
    preset = stored_mini(weights)
    network: Any = open_model(preset, "cpu").network
    held = [getattr(parameter, part, None) for parameter in network.parameters() for part in ("qdata", "scale")]
    eight_bit_b = sum(one.nbytes for one in held if one is not None)
    others_b = sum(parameter.nbytes for parameter in network.parameters() if not hasattr(parameter, "qdata"))
    shape = preset.network
    assert shape is not None
    tolerance = 1e-3 if weights == "float8" else 0.03  # biases in full, and scales: less of a larger model's weights
    assert eight_bit_b + others_b == pytest.approx(shape.float8_gib * GIB, rel=tolerance)
    full, forecast = (forecast_model(one) for one in (load_model_preset("mini"), preset))
    assert full is not None and forecast is not None and full.training is not None and forecast.training is not None
    assert forecast.training.weights < full.training.weights and forecast.clip.network < full.clip.network


def test_int8_is_refused_where_it_cannot_work() -> None:
    fields = load_model_preset("mini").model_dump()
    with pytest.raises(
        ValueError, match="weights = 'int8' cannot be moved block by block: set offload_blocks to false"
    ):
        ModelPreset(**{**fields, "weights": "int8", "offload_blocks": True})
    with pytest.raises(ConfigError, match="weights = 'int8' cannot be split over devices"):
        check_storage(FamilyOptions(weights="int8"), 16, checkpointed=True, sharded=True)


def test_the_former_name_of_float8_is_read() -> None:
    fields = {name: value for name, value in load_model_preset("mini").model_dump().items() if name != "weights"}
    assert ModelPreset(**{**fields, "weights_float8": True}).weights == "float8"
    assert ModelPreset(**{**fields, "weights_float8": False}).weights == "full"
    assert ModelPreset(**{**fields, "weights_float8": True, "weights": "int8"}).weights == "int8"
    with pytest.raises(ValueError, match="weights_float8"):
        ModelPreset(**{**fields, "weights_float8": "yes"})
