"""A checkpoint with a torn or missing file: the run goes on from the newest whole one, and ends as it would have.

The damage is done to every file of the newest checkpoint in turn, of a run that makes its clips and of one on pairs.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from engine.config.presets import load_train_preset
from engine.families.lora_files import WEIGHTS_FILE
from engine.files.manifests import MANIFEST
from engine.labelling.pair_tables import PairLine, write_pairs
from engine.runs.checkpoint_series import CheckpointSeries
from engine.runs.run import Run
from engine.training.main import Recorder, train
from engine.video.writer import write_lossless
from engine.workspace import Workspace

FILES: tuple[str, ...] = (
    "trainer_state.json",
    "trained.safetensors",
    "trained.average.safetensors",
    WEIGHTS_FILE,
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    MANIFEST,
)
OWN: dict[str, tuple[str, ...]] = {"nft": ("trained.old.safetensors",), "dpo": ()}
"""Further files of an algorithm's checkpoints."""
SHORT = (("nft", "trained.old.safetensors"), ("dpo", "optimizer.pt"))
"""The cases of a resumed run in the suite, the others are slow; damage to each file is found in the tests above."""
CASES = [
    pytest.param(algorithm, name, marks=[] if (algorithm, name) in SHORT else [pytest.mark.slow])
    for algorithm, own in OWN.items()
    for name in (*FILES, *own)
]
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "missing": lambda path: path.unlink(),
}
COMMON = {
    "num_frames": 9,
    "width": 32,
    "height": 32,
    "num_steps": 2,
    "lora_rank": 2,
    "ema_decay": 0.5,
    "learning_rate": 1e-2,
    "max_steps": 4,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "save_steps": 2,
    "logging_steps": 1,
    "sample_clips": 0,
}
MADE: dict[str, Path] = {}
"""Finished runs by their algorithm: each is made once and copied."""


@pytest.fixture
def workspace(workspace: Workspace, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    return workspace


@pytest.fixture
def finished(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A run of four updates with checkpoints after the second and the fourth, in the test's own workspace."""

    def copy(algorithm: str) -> Run:
        if algorithm not in MADE:
            lasting = tmp_path_factory.mktemp("made")
            MADE[algorithm] = shutil.copytree(_make(algorithm, workspace, lasting / "pairs"), lasting / "run")
        run = Run(workspace.runs / "copy")
        shutil.copytree(MADE[algorithm], run.folder)
        (run.folder / "lock").unlink()
        return run

    return copy


def _make(algorithm: str, workspace: Workspace, pairs: Path) -> Path:
    online = {"mix": "tiny", "rewards": "total", "prompts": "mini", "pairs": None}
    settings: dict[str, Any] = {**COMMON, "num_generations": 2}
    if algorithm == "dpo":
        online = {"mix": None, "prompts": None, "pairs": str(_pairs(pairs))}
        settings = {**COMMON, "beta": 1.0}
    changes = {"algorithm": algorithm, "model": "tiny", "alarms": {"every": 0}, **online}
    preset = load_train_preset("mini_nft", changes).model_copy(update={"settings": settings})
    run = Run.create(workspace, preset)
    assert train(run, Recorder(run))
    return run.folder


def _pairs(folder: Path) -> Path:
    folder.mkdir()
    rows = []
    for number in range(4):
        clip = np.random.default_rng(number).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
        write_lossless(folder / f"{number}.mkv", clip, 8.0)
    for chosen, rejected in ((0, 1), (2, 3)):
        rows.append(PairLine(prompt=f"pair {chosen}", chosen=f"{chosen}.mkv", rejected=f"{rejected}.mkv"))
    return write_pairs(folder, rows)


def adapter_of(run: Run) -> dict[str, list[Any]]:
    return {name: tensor.tolist() for name, tensor in load_file(run.adapter / WEIGHTS_FILE).items()}


def newest(run: Run) -> Path:
    return run.checkpoints / "checkpoint-4"


@pytest.mark.parametrize("algorithm", OWN)
def test_these_are_all_files_of_a_checkpoint(finished: Callable[[str], Run], algorithm: str) -> None:
    assert sorted(path.name for path in newest(finished(algorithm)).iterdir()) == sorted((*FILES, *OWN[algorithm]))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", (*FILES, *OWN["nft"]))
def test_a_damaged_file_is_found_and_kept_aside(
    finished: Callable[[str], Run], name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished("nft")
    DAMAGES[damage](newest(run) / name)
    left = {path.name: path.read_bytes() for path in newest(run).iterdir()}
    with caplog.at_level(logging.WARNING):
        found = CheckpointSeries(run.checkpoints).newest_whole()
    if (name, damage) == (MANIFEST, "missing"):
        assert found == newest(run), "all other files are whole, as in checkpoints from before manifests were written"
        return
    assert found == run.checkpoints / "checkpoint-2"
    (aside,) = run.checkpoints.glob("torn-4-*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == left
    assert "checkpoint-4 is damaged" in caplog.text and name in caplog.text
    assert aside.name in caplog.text
    (told,) = run.series.fallbacks()
    assert (told.step, told.went_on_from, told.kept) == (4, 2, aside.name) and name in told.why


@pytest.mark.parametrize("damage", ["truncated", "missing"])
@pytest.mark.parametrize("name", [name for name in FILES if name != MANIFEST])
def test_damage_is_found_without_a_manifest(finished: Callable[[str], Run], name: str, damage: str) -> None:
    run = finished("nft")
    (newest(run) / MANIFEST).unlink()
    DAMAGES[damage](newest(run) / name)
    found = run.series.newest_whole()
    unseen = damage == "missing" and name in ("trained.average.safetensors", WEIGHTS_FILE)
    assert found == (newest(run) if unseen else run.checkpoints / "checkpoint-2")


@pytest.mark.parametrize(("algorithm", "name"), CASES)
def test_a_run_goes_on_from_the_newest_whole_one_to_the_same_end(
    finished: Callable[[str], Run], algorithm: str, name: str
) -> None:
    run = finished(algorithm)
    adapter, metrics = adapter_of(run), run.metrics()
    shutil.rmtree(run.adapter)
    DAMAGES["truncated"](newest(run) / name)
    assert train(run, Recorder(run))
    assert adapter_of(run) == adapter
    for before, after in zip(metrics, run.metrics(), strict=True):
        assert (before["step"], before.get("loss")) == (after["step"], after.get("loss"))
    assert sorted(path.name for path in newest(run).iterdir()) == sorted((*FILES, *OWN[algorithm])), "written anew"
    assert json.loads((newest(run) / "trainer_state.json").read_text())["global_step"] == 4


def test_without_a_whole_checkpoint_a_run_begins_anew(
    finished: Callable[[str], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = finished("dpo")
    adapter = adapter_of(run)
    shutil.rmtree(run.adapter)
    for step in (2, 4):
        (run.checkpoints / f"checkpoint-{step}" / "optimizer.pt").unlink()
    with caplog.at_level(logging.WARNING):
        assert train(run, Recorder(run))
    assert adapter_of(run) == adapter
    assert "it restarts" in caplog.text
    assert [(one.step, one.went_on_from) for one in run.series.fallbacks()] == [(4, 0), (2, 0)]
