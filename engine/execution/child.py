"""A child process that a generator waits for: it ends with the generator, and with this process."""

import math
import os
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from typing import BinaryIO, TypeVar

from engine.execution.die_with_parent import die_with_parent_command

POLL_S = 0.2
T = TypeVar("T")


def run_child(
    argv: Sequence[str],
    progress: T,
    *,
    env: Mapping[str, str],
    stdout: BinaryIO,
    stderr: BinaryIO,
    limit_s: float = math.inf,
) -> Generator[T, None, int | None]:
    """Run a command, yield `progress`, and return its exit code; None after `limit_s`.

    Closing the generator kills the command.
    """
    end = time.monotonic() + limit_s
    process = subprocess.Popen(
        [*die_with_parent_command(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=env,
    )
    try:
        while time.monotonic() < end:
            yield progress
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
        return None
    finally:
        process.kill()
        process.wait()
