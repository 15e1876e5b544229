"""Weights that are stored in a way that cannot be trained are refused before a run begins."""

import pytest

from engine.config.presets import load_model_preset
from engine.errors import ConfigError
from engine.family_interface import FamilyOptions
from engine.generation.validation import check_storage, why_untrainable


def test_offloaded_blocks_only_generate() -> None:
    with pytest.raises(ConfigError, match="offload_blocks can only generate: set it to false"):
        check_storage(FamilyOptions(offload_blocks=True), 16, checkpointed=True)
    waiting = load_model_preset("ltx").model_copy(update={"offload_blocks": True})
    assert "set offload_blocks to false" in str(why_untrainable(waiting))


@pytest.mark.parametrize(("rank", "checkpointed"), [(0, True), (16, False)])
def test_float8_is_trained_by_an_adapter_block_by_block(rank: int, checkpointed: bool) -> None:
    with pytest.raises(ConfigError, match="set lora_rank to 1 or more and gradient_checkpointing to true"):
        check_storage(FamilyOptions(weights="float8"), rank, checkpointed=checkpointed)
    check_storage(FamilyOptions(weights="float8"), 16, checkpointed=True)
    check_storage(FamilyOptions(), rank, checkpointed=checkpointed)
