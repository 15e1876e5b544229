"""Selection and description of the device."""

import pytest
import torch

from engine.errors import ConfigError
from engine.hardware.device import device_facts, pick_device


def test_a_gpu_is_picked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAILIES_DEVICE", raising=False)
    assert pick_device() == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_user_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    assert pick_device() == "cpu"


@pytest.mark.parametrize("wanted", ["cuda:99", "tpu", "cpu:1", "cuda:x"])
def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("DAILIES_DEVICE", wanted)
    with pytest.raises(ConfigError, match=f"DAILIES_DEVICE={wanted} is not on this machine: use one of cpu"):
        pick_device()


def test_the_cpus_facts() -> None:
    facts = device_facts("cpu")
    assert facts.backend == "cpu" and "cores" in facts.name
    assert 0 < facts.free_gib <= facts.memory_gib
    assert facts.torch_version == torch.__version__


@pytest.mark.gpu
def test_the_gpus_facts() -> None:
    facts = device_facts("cuda")
    assert facts.backend == ("rocm" if torch.version.hip else "cuda")
    assert 0 < facts.free_gib <= facts.memory_gib and facts.runtime_version
