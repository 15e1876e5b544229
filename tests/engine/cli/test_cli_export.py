"""Export of a run for TensorBoard, and the error message without an installed writer."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.workspace import Workspace


@pytest.fixture
def run(workspace: Workspace) -> Run:
    made = Run.create(workspace, load_train_preset("mini_nft"))
    made.append_metrics(1, {"loss": 0.5, "at": 1e9, "of": 2})
    made.append_metrics(2, {"loss": 0.25, "rewards/mini/mean": 0.7, "at": 1e9 + 60, "of": 2})
    return made


def test_every_value_is_written_at_its_step_and_moment(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[tuple[Any, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert Path(folder) == run.workspace.tensorboard / run.id

        def add_scalar(self, name: str, value: float, step: int, walltime: float) -> None:
            written.append((name, value, step, walltime))

        def close(self) -> None:
            written.append(("closed",))

    library = ModuleType("torch.utils.tensorboard")
    library.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", library)
    assert main(["runs", "export-tensorboard", run.id]) == 0
    assert written == [
        ("loss", 0.5, 1, 1e9),
        ("loss", 0.25, 2, 1e9 + 60),
        ("rewards/mini/mean", 0.7, 2, 1e9 + 60),
        ("closed",),
    ]
    assert "3 values" in capsys.readouterr().out


def test_without_a_writer_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["runs", "export-tensorboard", run.id]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert main(["runs", "export-tensorboard", "gone"]) == 2


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None and importlib.util.find_spec("tensorboardX") is None,
    reason="no writer of TensorBoard's files is installed",
)
def test_the_real_writer(run: Run, tmp_path: Path) -> None:
    assert main(["runs", "export-tensorboard", run.id, "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").glob("events.out.tfevents.*")
    assert b"rewards/mini/mean" in file.read_bytes()
