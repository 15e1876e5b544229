"""`report_to` and the copy in Trackio: what their readers find, and tools that are unknown or not installed."""

import importlib.util
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from engine.config.presets import load_train_preset
from engine.errors import SettingsError
from engine.jobs.runs.train_process import command
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.reporting import WithoutModel, reporting_tools
from engine.workspace import Workspace


@pytest.fixture
def new_run(preset: str, space: Workspace) -> Callable[..., Run]:
    return lambda **settings: Run.create(space, load_train_preset(preset, {"settings": {"max_steps": 2, **settings}}))


def events(file: Path) -> Iterator[Any]:
    """Yield the events of a file of TensorBoard: records with their length and two checksums."""
    from tensorboardX.proto.event_pb2 import Event

    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is None, reason="tensorboardX is not installed")
def test_a_run_writes_its_metrics_for_tensorboard_and_trackio(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a process of its own, as it always is: Trackio reads where its store is when it is imported, and then writes
    to the workspace alone, asking nobody.
    """
    build_trainer((other := new_run()).preset(), other)  # a run before in the same process gives the next one no folder
    monkeypatch.setenv("DAILIES_TRACKIO", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)  # with one, Trackio would ask the hub for its owner
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    run = new_run(report_to="tensorboard")
    done = subprocess.run(command(run), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    files = list((run.workspace.tensorboard / run.id).glob("*tfevents*"))
    assert len(files) == 1
    found = {(value.tag, event.step) for event in events(files[0]) for value in event.summary.value}
    assert {("train/loss", 1), ("train/loss", 2), ("train/reward", 2)} <= found

    assert "127.0.0.1" not in done.stderr
    with closing(sqlite3.connect(run.workspace.trackio / "dailies.db")) as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY step", (run.id,))
        steps = [step for step, metrics in rows if '"loss"' in str(metrics)]
    assert steps == [1, 2]
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.parametrize("value", [None, "none", [], ["none"]])
def test_none_is_no_tool(value: Any) -> None:
    assert reporting_tools(value) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("wandbb", "unknown tool 'wandbb'. Did you mean 'wandb'"),
        ("all", "unknown tool 'all'"),
        (["tensorboard", "trackio"], "is not needed"),
    ],
)
def test_unknown_tools_are_refused_before_the_model_is_loaded(value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        reporting_tools(value)


@pytest.mark.skipif(importlib.util.find_spec("clearml") is not None, reason="ClearML is installed")
def test_a_tool_that_is_not_installed_is_named_with_its_package() -> None:
    with pytest.raises(SettingsError, match="'clearml', which is not installed: `pip install clearml`"):
        reporting_tools("clearml")


def test_all_events_are_passed_on_without_the_model() -> None:
    seen: list[tuple[str, Any]] = []

    class Recorder:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **named: seen.append((name, named["model"]))

    wrapped = WithoutModel(Recorder())  # type: ignore[arg-type]
    names = [name for name in dir(TrainerCallback) if name.startswith("on_")]
    for name in names:
        getattr(wrapped, name)(None, None, None, model=object(), logs={})
    assert seen == [(name, None) for name in names] and "on_log" in names
