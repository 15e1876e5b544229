"""A child process for which a generator waits ends with it, at its limit, and with the process that started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from engine.execution.child import run_child
from engine.process_identity import ProcessIdentity

SLEEPER = (
    "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); "
    "time.sleep(60) if len(sys.argv) > 2 else sys.exit(3)"
)


def child(folder: Path, *words: str, limit_s: float = 60.0) -> Generator[str, None, int | None]:
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-c", SLEEPER, str(folder / "pid"), *words]
        return (yield from run_child(command, "runs", env=os.environ, stdout=log, stderr=log, limit_s=limit_s))


def ended(folder: Path) -> bool:
    return ProcessIdentity.of(int((folder / "pid").read_text())) is None


def code_of(steps: Generator[str, None, int | None]) -> int | None:
    while True:
        try:
            assert next(steps) == "runs"
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_the_exit_code_comes_back(tmp_path: Path) -> None:
    assert code_of(child(tmp_path)) == 3


@pytest.mark.parametrize("limit_s", [0.0, 0.01])
def test_a_child_beyond_its_limit_is_killed(limit_s: float, tmp_path: Path) -> None:
    assert code_of(child(tmp_path, "long", limit_s=limit_s)) is None
    assert not (tmp_path / "pid").exists() or ended(tmp_path)


def test_closing_the_generator_kills_the_child(tmp_path: Path, until: Callable[..., None]) -> None:
    steps = child(tmp_path, "long")
    until(lambda: next(steps) and (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the child's pid")
    steps.close()
    assert ended(tmp_path)


def test_the_child_of_a_killed_process_ends(tmp_path: Path, until: Callable[..., None]) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.engine.execution.test_child import child\n"
        f"for _ in child(Path({str(tmp_path)!r}), 'long'): pass"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the child's pid")
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    until(lambda: ended(tmp_path), "the child to end")
