"""Tables of pairs: training and import find the same winner in a file, or both refuse it."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from engine.errors import ConfigError
from engine.labelling.pair_archives import import_archive
from engine.labelling.pair_exchange import import_pairs
from engine.labelling.preference_formats import read_preference_data
from engine.storage.library import Library
from engine.video.reader import read_lossless
from engine.video.writer import write_lossless
from engine.workspace import Workspace

BY_VERDICT = (
    ("video1", "a.mkv"),
    ("video2", "b.mkv"),
    ("1", "a.mkv"),
    ("2", "b.mkv"),
    ("2.0", "b.mkv"),
    ("A", "a.mkv"),
    ("b.mkv", "b.mkv"),
)
REFUSED = (
    ("prompt,video1,video2\np,a.mkv,b.mkv\n", "does not show which of video1 and video2 won"),
    ("prompt,video1,video2,preference\np,a.mkv,b.mkv,first\n", "preference is 'first', but must be video1, video2"),
    ("prompt,video1,video2,preference\np,a.mkv,b.mkv,0\n", "preference is '0'"),
    ("prompt,chosen,rejected\np,a.mkv\n", "it has 2 fields, but the header names 3 columns"),
    ("prompt,chosen,rejected\np,a.mkv,b.mkv,b.mkv\n", "it has 4 fields"),
    ("prompt,chosen,rejected,score\np,a.mkv,b.mkv,N/A\n", "score is 'N/A', but must be a number above 0"),
    ("prompt,chosen,rejected,score\np,a.mkv,b.mkv,-3\n", "score is '-3'"),
    ("prompt,chosen,rejected,score\np,a.mkv,b.mkv,nan\n", "score is 'nan'"),
    ("prompt,chosen,rejected,score\np,a.mkv,b.mkv,1e400\n", "score is '1e400'"),
    ("prompt,chosen,rejected,margin\np,a.mkv,b.mkv,abc\n", "margin is 'abc', but must be a number from 0 to 1"),
    ("prompt,chosen,rejected,margin\np,a.mkv,b.mkv,NaN\n", "margin is 'NaN'"),
    (f"prompt,chosen,rejected\n{'p' * 2001},a.mkv,b.mkv\n", "prompt has 2,001 characters"),
)


@pytest.fixture
def store(workspace: Workspace) -> Iterator[Library]:
    opened = Library(workspace)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pairs"
    place.mkdir()
    for number, name in enumerate(("a.mkv", "b.mkv")):
        write_lossless(place / name, np.full((5, 32, 32, 3), 90 * number, np.uint8), 8.0)
    return place


def imported(store: Library, table: Path) -> list[dict]:
    return [json.loads(line) for line in import_pairs(store, table, "x").file.read_text().splitlines()]


@pytest.mark.parametrize(("said", "winner"), BY_VERDICT)
def test_the_winner_is_the_one_that_the_verdict_names(store: Library, folder: Path, said: str, winner: str) -> None:
    table = folder / "table.csv"
    table.write_text(f"prompt,video1,video2,preference\np,a.mkv,b.mkv,{said}\n")
    (row,) = read_preference_data(table)
    assert Path(row["chosen"]).name == winner != Path(row["rejected"]).name
    (other,) = imported(store, table)
    (again,) = read_preference_data(store.workspace.root / "pairs" / "x.jsonl")
    assert np.array_equal(read_lossless(Path(again["chosen"]))[0], read_lossless(Path(row["chosen"]))[0])
    assert other["prompt"] == "p"


@pytest.mark.parametrize("verdicts", [("video2", "tie"), ("tie", "2")])
def test_a_tie_is_no_pair_and_no_mistake(store: Library, folder: Path, verdicts: tuple[str, str]) -> None:
    table = folder / "table.csv"
    rows = "".join(f"p,a.mkv,b.mkv,{said}\n" for said in verdicts)
    table.write_text(f"prompt,video1,video2,preference\n{rows}")
    assert len(read_preference_data(table)) == len(imported(store, table)) == 1


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_training_and_import_refuse_the_same_rows(store: Library, folder: Path, text: str, sentence: str) -> None:
    table = folder / "table.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as training:
        read_preference_data(table)
    assert "line 2" in str(training.value)
    with pytest.raises(ConfigError, match=sentence):
        import_pairs(store, table, "x")


def test_a_bad_row_leaves_the_others_to_an_import(store: Library, folder: Path) -> None:
    (folder / "table.csv").write_text("prompt,chosen,rejected,margin\np,a.mkv,b.mkv,1\nq,b.mkv,a.mkv,abc\n")
    archive = folder.parent / "pairs.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in folder.iterdir():
            zipped.write(file, file.name)
    found = import_archive(store, archive)
    assert found.pairs == 1
    assert "Line 3: its margin is 'abc'" in found.skipped[0]


def test_places_that_metadata_does_not_have(folder: Path) -> None:
    metadata = [{"basic": {"clip_path": name}} for name in ("a.mkv", "b.mkv")]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    for place in (-1, 2, 1.5, True, "1", None):
        (folder / "pair.json").write_text(json.dumps([{"video1": place, "video2": 0, "frame_caption": "p"}]))
        with pytest.raises(ConfigError, match=r"pair 0 of pair\.json: its video1 is"):
            read_preference_data(folder)


def test_parquet_rows_are_read_alike(store: Library, folder: Path) -> None:
    rows = [{"prompt": "p", "video1": {"path": "a.mkv"}, "video2": {"path": "b.mkv"}, "preference": 2, "score": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "t.parquet")
    (row,) = read_preference_data(folder / "t.parquet")
    assert (Path(row["chosen"]).name, "score" in row) == ("b.mkv", False)
    assert len(imported(store, folder / "t.parquet")) == 1


def test_a_clip_that_is_a_loop_of_links_or_no_name(store: Library, folder: Path) -> None:
    (folder / "loop.mkv").symlink_to(folder / "loop.mkv")
    for name in ("loop.mkv", "x" * 5000, "a\0.mkv"):
        (folder / "t.jsonl").write_text(json.dumps({"prompt": "p", "chosen": name, "rejected": "b.mkv"}) + "\n")
        with pytest.raises(ConfigError, match="no usable pair"):
            import_pairs(store, folder / "t.jsonl", "x")
        with pytest.raises(ConfigError, match="are missing"):
            read_preference_data(folder / "t.jsonl")


def test_a_table_separated_by_semicolons_is_named(folder: Path) -> None:
    (folder / "t.csv").write_text("prompt;chosen;rejected\np;a.mkv;b.mkv\n")
    with pytest.raises(ConfigError, match="separated by semicolons: export it with commas"):
        read_preference_data(folder / "t.csv")
