"""`python -m engine.execution.supervisor ATTEMPT` runs what this folder asks for, stops it when asked.

Says how it ended.

The same for every runner: as a detached process here, as the entry point of a Ray job, as a task of Slurm. Its signals
(a cluster that wants the machine back) count as being asked to stop. With `--tells` it first writes down who it is, for
whoever started it may be gone before that could.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.execution.attempt import Attempt
from engine.execution.die_with_parent import CANNOT_START, die_with_parent_command
from engine.hardware.environment import merge_env

TELLS = "--tells"
POLL_S = 0.1
GRACE_S = 120.0  # for the step that a training is in, and its checkpoint


class Supervisor:
    """Watches one child, which leads a process group of its own."""

    def __init__(self, attempt: Attempt, child: "subprocess.Popen[bytes]") -> None:
        self._attempt, self._child = attempt, child
        self._signalled = False
        self._asked_at: float | None = None

    def on_signal(self, *_: object) -> None:
        self._signalled = True

    def attend(self) -> int:
        """The child's exit code, once it has ended."""
        while True:
            try:
                return self._child.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._obey()

    def _obey(self) -> None:
        """TERM once when asked to stop, KILL when the time given for it is over."""
        asked = self._attempt.asked_to_stop()
        grace_s = GRACE_S if asked is None and self._signalled else asked
        if grace_s is None:
            return
        now_s = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now_s
            if grace_s > 0:
                self._signal(signal.SIGTERM)
        if now_s - self._asked_at >= grace_s:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        os.killpg(self._child.pid, number)  # not yet waited for, so the group is there


def start(attempt: Attempt) -> "subprocess.Popen[bytes]":
    """The child, whose output goes to the log. Raises OSError when it cannot be started."""
    work = attempt.work()
    with attempt.log.open("ab") as log:
        return subprocess.Popen(
            [*die_with_parent_command(os.getpid()), *work.argv],
            cwd=work.cwd,
            env=merge_env(os.environ, work.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def main(argv: list[str]) -> int:
    attempt = Attempt.at(Path(argv[0]))
    try:
        if TELLS in argv:
            from engine.execution.local import (
                save_local_handle,  # a part of the engine that clusters' attendants do without
            )

            save_local_handle(attempt, os.getpid())
        child = start(attempt)
    except OSError as error:
        with attempt.log.open("a", encoding="utf-8") as log:
            log.write(f"{attempt.work().argv[0]} cannot be started: {error}.\n")
        attempt.end(CANNOT_START)
        return CANNOT_START
    attendant = Supervisor(attempt, child)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, attendant.on_signal)
    code = attendant.attend()
    attempt.end(code)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
