"""Durations and orders do not depend on changes of the system clock."""

import os
import shutil
import time

import pytest

from engine.clock import SteadyClock
from engine.config.presets import load_curriculum, load_train_preset
from engine.hardware.telemetry.monitor import Telemetry
from engine.runs.curriculum_state import Curriculum, list_curricula
from engine.runs.run import Run, list_runs
from engine.training.resource_metrics import ResourceMetrics
from engine.workspace import Workspace

JUMP_S = 10 * 24 * 3600.0


def set_clock(monkeypatch: pytest.MonkeyPatch, change_s: float) -> None:
    was = time.time
    monkeypatch.setattr(time, "time", lambda: was() + change_s)


@pytest.mark.parametrize("change_s", [-JUMP_S, JUMP_S])
def test_moments_of_metrics_and_telemetry_do_not_jump(monkeypatch: pytest.MonkeyPatch, change_s: float) -> None:
    gauges, telemetry, clock = ResourceMetrics(), Telemetry(()), SteadyClock()
    before = gauges.read()["at"], telemetry.snapshot().at, clock.unix_s()
    assert before[2] == pytest.approx(time.time(), abs=5), "it is Unix time"
    set_clock(monkeypatch, change_s)
    after = gauges.read()["at"], telemetry.snapshot().at, clock.unix_s()
    assert all(0 <= late - early < 60 for early, late in zip(before, after, strict=True))


def age(path: os.PathLike[str], seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_runs_and_curricula_are_listed_in_the_order_in_which_they_were_made(workspace: Workspace) -> None:
    preset, plan = load_train_preset("mini_grpo"), load_curriculum("mini_lengths")
    runs = [Run.create(workspace, preset) for _ in range(3)]
    curricula = [Curriculum.create(workspace, plan) for _ in range(3)]
    for days, one in enumerate((*runs, *curricula)):
        age(one.resolved, days * 86400)  # each was written while the clock was a day further back
    assert list_runs(workspace) == runs[::-1]
    assert list_curricula(workspace) == curricula[::-1]
    runs[0].replace_preset(preset)
    assert list_runs(workspace) == [runs[0], runs[2], runs[1]], "one that was extended comes first"


def test_a_copied_workspace_keeps_the_order(workspace: Workspace, tmp_path) -> None:
    names = [Run.create(workspace, load_train_preset("mini_grpo")).id for _ in range(3)]
    copied = Workspace(tmp_path / "copy")
    shutil.copytree(workspace.runs, copied.runs, copy_function=shutil.copyfile)
    assert [run.id for run in list_runs(copied)] == names[::-1]


@pytest.mark.parametrize("number", [b"", b"\xff", b"-3", b"9" * 5000])
def test_a_damaged_number_hides_no_run(workspace: Workspace, number: bytes) -> None:
    first, second = (Run.create(workspace, load_train_preset("mini_grpo")) for _ in range(2))
    (first.folder / "order").write_bytes(number)
    assert list_runs(workspace) == [second, first]
