"""Turns of one process's writers; few of them wait for long, so that threads remain for readers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENT = 24  # writers of one process that may wait for the full timeout; a web server has about 40 threads
BRIEFLY_S = 0.25  # timeout of any additional writer


class NoTurn(Exception):
    """A writer did not get its turn within the timeout."""


class Turns:
    """Limits this process to `at_once` concurrent writers.

    A writer waits up to `patience_s` seconds for its turn. While `PATIENT` writers wait, each additional one waits only
    `BRIEFLY_S` seconds: a database that stays locked then blocks a few threads, not all of them.
    """

    def __init__(self, at_once: int, patience_s: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._patience_s = patience_s
        self._guard = threading.Lock()
        self._waiting = 0

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Hold a turn inside the block; yields the remaining seconds of the timeout. Raises NoTurn."""

        deadline = time.monotonic() + self._patience_s
        if not (self._free.acquire(blocking=False) or self._wait()):
            raise NoTurn("too many others wait to write to it")
        try:
            yield max(0.0, deadline - time.monotonic())
        finally:
            self._free.release()

    def _wait(self) -> bool:
        with self._guard:
            self._waiting += 1
            seconds = self._patience_s if self._waiting <= PATIENT else min(BRIEFLY_S, self._patience_s)
        try:
            return self._free.acquire(timeout=seconds)
        finally:
            with self._guard:
                self._waiting -= 1
