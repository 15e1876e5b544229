"""The wait for the end of a process that was told to stop."""

import time
from pathlib import Path
from typing import Any

import pytest

from engine.execution.attempt import GRACE_S
from engine.execution.process_runner import MARGIN_S, Handle, ProcessStatus, stop_and_wait


class Slow:
    """A cluster whose process is over when it has been polled `polls` times."""

    address, spreads = "", False

    def __init__(self, polls: int) -> None:
        self.left, self.cancelled = polls, 0

    def poll(self, handle: Handle) -> ProcessStatus:
        self.left -= 1
        return ProcessStatus(state="ended" if self.left <= 0 else "running", exit_code=0)

    def cancel(self, handle: Handle, grace_s: float) -> None:
        self.cancelled += 1


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, on a clock that only they move."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(found))
    return found


def stopped(polls: int, folder: Path) -> Slow:
    runner: Any = Slow(polls)
    stop_and_wait(runner, Handle(runner="ray", folder=folder, id="one"))
    return runner  # type: ignore[no-any-return]


def test_a_process_that_is_over_is_not_waited_for(pauses: list[float], tmp_path: Path) -> None:
    assert stopped(1, tmp_path).cancelled == 0 and pauses == []


def test_a_quick_end_is_seen_soon_and_a_slow_one_costs_few_polls(pauses: list[float], tmp_path: Path) -> None:
    assert stopped(9, tmp_path).cancelled == 1
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5]


def test_the_wait_has_an_end(pauses: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped(10**6, tmp_path)
    assert GRACE_S + MARGIN_S < sum(pauses) < GRACE_S + MARGIN_S + 1
    assert "has not ended yet" in caplog.text
