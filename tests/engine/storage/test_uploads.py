"""Uploads stay until their job has imported them, and not for ever."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from engine.errors import ConfigError, StoreError
from engine.storage.uploads import discard_upload, kept_uploads, sweep_uploads


def sent(workspace, name: str = "clip.mp4") -> Path:
    """A file as the page's server puts it there: in a folder named by what is in it."""
    path = workspace.uploads / "c0ffee" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return path


def keep_uploads(workspace, files: list[Path]) -> Path:
    with kept_uploads(workspace, files) as folder:
        return folder


def keep_upload(workspace, file: Path) -> Path:
    return keep_uploads(workspace, [file]) / file.name


def age(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(folder, (then, then))


def test_two_jobs_never_share_an_upload(workspace):
    first = keep_upload(workspace, sent(workspace))
    second = keep_upload(workspace, sent(workspace))
    discard_upload(workspace, first)
    assert not first.parent.exists() and second.read_bytes() == b"video" and second.name == "clip.mp4"


def test_files_that_came_together_stay_together(workspace):
    folder = keep_uploads(workspace, [sent(workspace, "a.mp4"), sent(workspace, "b.mp4")])
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "b.mp4"]
    age(folder, days=2)
    assert sweep_uploads(workspace, in_use=[folder]) == 0 and folder.exists()


def test_files_of_one_name_are_refused_and_stay(workspace):
    first = sent(workspace)
    second = workspace.uploads / "decade" / first.name
    second.parent.mkdir()
    second.write_bytes(b"another video")
    with pytest.raises(ConfigError, match="Two different files are named 'clip.mp4': rename one"):
        keep_uploads(workspace, [first, second])
    assert first.exists() and second.exists() and len(list(workspace.uploads.iterdir())) == 2
    assert len(list(keep_uploads(workspace, [first, first]).iterdir())) == 1, "one file, chosen twice"


def test_an_upload_that_is_gone_is_a_sentence(workspace):
    with pytest.raises(StoreError, match=r"'clip.mp4' was not kept .*send it again"):
        keep_upload(workspace, workspace.uploads / "c0ffee" / "clip.mp4")


def test_a_file_of_somebodys_own_stays(workspace, tmp_path):
    own = tmp_path / "folder" / "holiday.mp4"
    own.parent.mkdir()
    own.write_bytes(b"video")
    discard_upload(workspace, own)
    assert own.exists()


def test_old_uploads_go_unless_a_job_wants_them(workspace):
    kept = [keep_upload(workspace, sent(workspace)) for _ in range(3)]
    for path in kept[:2]:
        age(path.parent, days=2)
    age(workspace.uploads / "c0ffee", days=2)
    assert sweep_uploads(workspace, in_use=[kept[0]]) == 2
    assert [path.exists() for path in kept] == [True, False, True]
    assert sweep_uploads(workspace, older_than=timedelta(0)) == 2


def test_a_workspace_without_uploads_has_nothing_to_sweep(workspace):
    assert sweep_uploads(workspace) == 0
