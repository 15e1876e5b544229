"""Locks between processes. The kernel releases a lock when its holder dies, even by SIGKILL."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StoreError

PROBE_TIMEOUT_S = 2.0  # probing a lock holds it for microseconds; the timeout allows for a heavily loaded machine
RETRY_S = 0.01


def try_lock(path: Path) -> int | None:
    """Take the lock without waiting and return its file descriptor, or None when another process holds it.

    The lock is held until every copy of the descriptor is closed, so a child that inherits it keeps the lock.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def acquire(path: Path, patience_s: float = PROBE_TIMEOUT_S) -> int | None:
    """Take the lock like `try_lock`, but wait up to `patience_s` for processes that probe it (`is_held`)."""
    deadline = time.monotonic() + patience_s
    while (lock := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(RETRY_S)
    return lock


def is_held(path: Path) -> bool:
    """Return True while a process holds the lock.

    The probe takes the lock for a moment, so its owners take it by `acquire`.
    """
    if not path.is_file():
        return False
    lock = try_lock(path)
    if lock is not None:
        os.close(lock)
    return lock is None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock inside the block; wait for it as long as another process holds it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"The lock {path} cannot be opened: {error.strerror}. Check the workspace's permissions and disk space."
        ) from error
