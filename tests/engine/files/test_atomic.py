"""Files and folders that are replaced as a whole, also after a process that died in between."""

from pathlib import Path

import pytest

from engine.files.atomic import partial_file, replace_folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_folder_left_by_a_process_that_died_stops_no_later_replacement(tmp_path: Path) -> None:
    target = folder(tmp_path / "adapter", "old")
    folder(tmp_path / "adapter.part-replaced", "older")
    replace_folder(folder(tmp_path / "adapter.part", "new"), target)
    assert (target / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_whose_writing_fails_is_as_before(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), partial_file(path, durable=durable) as partial:
        partial.write_text("ne")
        raise OSError("full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with partial_file(path, durable=durable) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
