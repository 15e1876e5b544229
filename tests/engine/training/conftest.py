"""A fresh tiny model for each trainer, since training changes it; a preset that trains it in a process of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.workspace import Workspace

PRESET = """
title = "Tiny NFT"
algorithm = "nft"
model = "tiny"
mix = "tiny"
rewards = "total"
prompts = "mini"
[alarms]
every = 0  # or each run would begin with a look at 16 clips
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 2
lora_rank = 2
max_steps = 20
num_generations = 2
per_device_train_batch_size = 2
gradient_accumulation_steps = 1
save_steps = 2
save_total_limit = 3
logging_steps = 1
sample_clips = 0
"""


@pytest.fixture
def open_tiny(tiny_folder: Path, open_family: Callable[[Path], Any]) -> Callable[[], Any]:
    return lambda: open_family(tiny_folder)


@pytest.fixture
def preset(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    folder = tmp_path / "presets" / "train"
    folder.mkdir(parents=True)
    (folder / "tiny_nft.toml").write_text(PRESET)
    return "tiny_nft"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepare()
