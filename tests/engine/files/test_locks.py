"""Locks that others look at."""

import os
import threading
from pathlib import Path

import pytest

from engine.files.locks import acquire, is_held, try_lock


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path) and not path.exists()
    lock = try_lock(path)
    assert lock is not None and is_held(path)
    os.close(lock)
    assert not is_held(path)


def test_who_claims_waits_for_those_who_look(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    looking = try_lock(path)
    assert looking is not None
    threading.Timer(0.05, os.close, [looking]).start()
    claimed = acquire(path, patience_s=60)
    assert claimed is not None
    assert acquire(path, patience_s=0) is None, "its owner keeps it"
    os.close(claimed)


def test_looking_never_keeps_an_owner_out(tmp_path: Path) -> None:
    """As many looks as a page makes in hours, while others come and go."""
    path, over = tmp_path / "lock", threading.Event()

    def look() -> None:
        while not over.is_set():
            is_held(path)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    path.touch()
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(200):
            lock = acquire(path, patience_s=60)
            assert lock is not None
            os.close(lock)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


@pytest.mark.parametrize("held", [True, False])
def test_a_run_is_trained_while_its_lock_is_held(tmp_path: Path, held: bool) -> None:
    from engine.runs.run import Run

    run = Run(tmp_path)
    lock = try_lock(run.lock) if held else None
    assert run.is_training is held
    if lock is not None:
        os.close(lock)
