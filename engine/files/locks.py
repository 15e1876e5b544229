"""Locks between processes. The kernel lets go of them when their holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StoreError

PROBE_TIMEOUT_S = (
    2.0  # who only looks whether a lock is held has it for microseconds; this is for a machine out of breath
)
AGAIN_S = 0.01


def try_lock(path: Path) -> int | None:
    """Take the lock at once and return its file descriptor, or None when another process has it.

    It is held until every copy of the descriptor is closed, so a child that inherits it can keep it for its parent.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def acquire(path: Path, patience_s: float = PROBE_TIMEOUT_S) -> int | None:
    """Take the lock like `try_lock`, from one that others look at (`is_held`): they are waited for."""
    deadline = time.monotonic() + patience_s
    while (lock := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(AGAIN_S)
    return lock


def is_held(path: Path) -> bool:
    """Whether a process has the lock now. It is taken for a moment to find out, so its owners `claim` it."""
    if not path.is_file():
        return False
    lock = try_lock(path)
    if lock is not None:
        os.close(lock)
    return lock is None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock, waiting for it as long as its holder lives."""
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
