"""Purging next to other work, and a purge that is cut off: every row has files, and no files are left without a row."""

import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import StoreError
from engine.runs.purge import purge
from engine.storage.clip_files import has_files
from engine.storage.library import Library
from engine.storage.temp_folders import remove_orphans, temp_folders
from engine.storage.video_import import import_clip
from engine.video.writer import write_lossless

NOW = timedelta(0)
SEEN_S = 1.0  # for the other thread to do what it can before the purge goes on
CUT_OFF = """
import os, pathlib
from datetime import timedelta
from engine.runs.purge import purge
from engine.storage.library import Library
from engine.workspace import Workspace
rename, calls = pathlib.Path.rename, []
def rename_once(self, target):
    calls.append(self)
    return rename(self, target) if len(calls) == 1 else os._exit(9)
pathlib.Path.rename = rename_once
purge(Library(Workspace.from_env()), timedelta(0))
"""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    write_lossless(tmp_path / "a.mkv", frames, 8.0)
    return tmp_path / "a.mkv"


def folders(store: Library) -> set[str]:
    """Those that are not set aside to be removed."""
    return {folder.name for folder in store.workspace.clips.glob("*/*")} - {
        folder.name for folder in temp_folders(store.workspace)
    }


def rows(store: Library) -> set[str]:
    return {record.id for record in store.clips()}


def test_a_clip_that_is_imported_while_it_is_purged_has_its_files(
    store: Library, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = import_clip(store, video)
    store.delete([clip.id])
    forget, failures = Library.forget_deleted, list[Exception]()

    def imported() -> None:
        try:
            import_clip(store, video)
        except StoreError as error:
            failures.append(error)

    other = threading.Thread(target=imported)

    def forgotten(self: Library, *arguments: Any) -> list[str]:
        found = forget(self, *arguments)
        other.start()
        other.join(SEEN_S)
        return found

    monkeypatch.setattr(
        Library, "forget_deleted", lambda self, *given, **named: forgotten(self, *given, *named.values())
    )
    assert purge(store, NOW) == 1
    other.join()
    assert rows(store) == folders(store), failures
    import_clip(store, video)
    assert rows(store) == folders(store) == {clip.id}


def test_a_purge_that_is_killed_leaves_nothing_for_ever(store: Library, video: Path, python: str, root: Path) -> None:
    clips = [import_clip(store, video, prompt).id for prompt in ("a", "b", "c")]
    store.delete(clips)
    assert subprocess.run([python, "-c", CUT_OFF], cwd=root, check=False, timeout=120).returncode == 9
    assert set(store.deleted_ids()) == set(clips), "their rows are removed last"
    assert purge(store, NOW) == 3 and folders(store) == set() and store.deleted_ids() == []
    remove_orphans(store.workspace)
    assert list(store.workspace.clips.glob("*/*")) == []


def test_one_folder_that_cannot_be_moved_stops_no_other(
    store: Library, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [import_clip(store, video, prompt).id for prompt in ("a", "b", "c")]
    store.delete(clips)
    rename: Callable[..., Path] = Path.rename

    def busy(self: Path, target: Path) -> Path:
        if self.name == clips[1]:
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", busy)
        assert purge(store, NOW) == 2
    assert store.deleted_ids() == [clips[1]] and folders(store) == {clips[1]}
    assert store.restore([clips[1]]) == 1 and has_files(store.workspace, clips[1])


def test_files_come_back_when_the_rows_cannot_be_removed(
    store: Library, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = import_clip(store, video).id
    store.delete([clip])

    def full(self: Library, before: object, keep: object, is_gone: Callable[[str], bool]) -> list[str]:
        assert is_gone(clip) and folders(store) == set()
        raise StoreError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(Library, "forget_deleted", full)
        with pytest.raises(StoreError):
            purge(store, NOW)
    assert store.restore([clip]) == 1 and has_files(store.workspace, clip)
