"""`python -m engine.execution.supervisor ATTEMPT` runs an attempt's command and records its exit code.

It stops the command on request. It is the same for every runner: a detached process here, the entry point of a Ray job,
a task of Slurm. A signal to it (from a cluster that needs the machine) is a request to stop. With `--tells` it first
saves its own handle, since its starter may be killed before it can.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.execution.attempt import GRACE_S, TELLS, Attempt
from engine.execution.die_with_parent import CANNOT_START, die_with_parent_command
from engine.execution.local import save_local_handle
from engine.hardware.environment import merge_env

POLL_S = 0.1


class Supervisor:
    """Monitors a child process, which leads a process group of its own."""

    def __init__(self, attempt: Attempt, child: "subprocess.Popen[bytes]") -> None:
        self._attempt, self._child = attempt, child
        self._signalled = False
        self._stopping_since: float | None = None

    def on_signal(self, *_: object) -> None:
        self._signalled = True

    def wait(self) -> int:
        """Wait for the child's end and return its exit code."""
        while True:
            try:
                return self._child.wait(POLL_S)
            except subprocess.TimeoutExpired:
                self._handle_stop()

    def _handle_stop(self) -> None:
        """Send TERM once when a stop is requested, and KILL after its grace."""
        requested_s = self._attempt.asked_to_stop()
        grace_s = GRACE_S if requested_s is None and self._signalled else requested_s
        if grace_s is None:
            return
        now_s = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now_s
            if grace_s > 0:
                self._signal(signal.SIGTERM)
        if now_s - self._stopping_since >= grace_s:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        os.killpg(self._child.pid, number)  # not yet waited for, so the group exists


def start(attempt: Attempt) -> "subprocess.Popen[bytes]":
    """Start the child with its output in the log. Raises OSError when it cannot be started."""
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
            save_local_handle(attempt, os.getpid())
        child = start(attempt)
    except OSError as error:
        with attempt.log.open("a", encoding="utf-8") as log:
            log.write(f"{attempt.work().argv[0]} cannot be started: {error}.\n")
        attempt.end(CANNOT_START)
        return CANNOT_START
    supervisor = Supervisor(attempt, child)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.on_signal)
    code = supervisor.wait()
    attempt.end(code)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
