"""A hub on loopback for the client in this process, and a repository in it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from tests.stub_hub import StubHub, running_hub, use_hub

NAME = "owner/model"
LARGE = "transformer/diffusion_pytorch_model.safetensors"
SIZE_B = 300_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    return folder


@pytest.fixture
def hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A hub with the repository NAME: a network of 300 kB and small files."""
    folder = tmp_path / "repository"
    for path, content in (
        ("model_index.json", b"{}"),
        ("transformer/config.json", b'{"_class_name": "X"}'),
        (LARGE, np.random.default_rng(0).bytes(SIZE_B)),
        ("transformer/diffusion_pytorch_model.bin", bytes(SIZE_B)),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    with running_hub() as hub:
        hub.add(NAME, folder)
        use_hub(hub, monkeypatch)
        yield hub
