"""Preference data in the layouts that are found in the wild, and what is said of data that is none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from engine.errors import ConfigError
from engine.labelling.preference_formats import read_preference_data
from engine.video.writer import write_lossless

CLIPS = ("a.mkv", "b.mkv", "c.mkv", "d.mkv")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(CLIPS):
        write_lossless(folder / name, np.full((2, 16, 16, 3), 40 * number, np.uint8), 8.0)
    return folder


@pytest.fixture
def official(clips: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "vidpro-vc2-dpo-dataset"
    shutil.copytree(clips, folder / "videos")
    metadata = [{"basic": {"clip_path": f"videos/{name}", "clip_duration": 2}} for name in CLIPS]
    pairs = [
        {"video1": 0, "video2": 1, "frame_caption": "a cat", "score": 0.36},
        {"video1": 3, "video2": 2, "frame_caption": "a dog"},
    ]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "pair.json").write_text(json.dumps(pairs))
    return folder


def test_the_official_layout_and_its_weights(official: Path) -> None:
    import torch

    from engine.algorithms.dpo import pair_weight

    first, second = read_preference_data(official)
    assert (first["prompt"], Path(first["chosen"]).name, Path(first["rejected"]).name) == ("a cat", "a.mkv", "b.mkv")
    assert (Path(second["chosen"]).name, Path(second["rejected"]).name) == ("d.mkv", "c.mkv")
    assert first["score"] == 0.36
    assert "score" not in second
    assert float(pair_weight(torch.tensor([first["score"]]), power=1.0)[0]) == pytest.approx(2.0)


def test_the_mirror_with_two_folders(clips: Path, tmp_path: Path) -> None:
    rows = [{"caption": "a cat", "win": "a.mkv", "lose": "b.mkv"}]
    (tmp_path / "train_data.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError, match=r"unpack winvideos\.zip and losevideos\.zip"):
        read_preference_data(tmp_path)
    for side in ("winvideos", "losevideos"):
        shutil.copytree(clips, tmp_path / side)
    (row,) = read_preference_data(tmp_path)
    assert row["chosen"] == str(tmp_path / "winvideos" / "a.mkv")
    assert row["rejected"] == str(tmp_path / "losevideos" / "b.mkv")


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_tables_with_columns_of_several_names(suffix: str, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "v")
    row = {"prompt": "a cat", "video_win": "v/a.mkv", "video_lose": "v/b.mkv", "score": "0.5"}
    texts = {
        "csv": "prompt,video_win,video_lose,score\na cat,v/a.mkv,v/b.mkv,0.5\n",
        "json": json.dumps([row]),
        "jsonl": json.dumps(row) + "\n",
    }
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "table.parquet")
    else:
        (tmp_path / f"table.{suffix}").write_text(texts[suffix])
    (found,) = read_preference_data(tmp_path / f"table.{suffix}")
    assert (found["prompt"], found["chosen"], found["score"]) == ("a cat", str(tmp_path / "v" / "a.mkv"), 0.5)


def test_chosen_clips_alone_where_nothing_is_compared(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "v")
    table = tmp_path / "table.jsonl"
    table.write_text(
        '{"prompt": "a cat", "video": "v/a.mkv"}\n{"prompt": "b", "chosen": "v/b.mkv", "rejected": "gone"}\n'
    )
    rows = read_preference_data(table, chosen_alone=True)
    first, second = (
        {"prompt": text, "chosen": str(tmp_path / "v" / name)} for text, name in (("a cat", "a.mkv"), ("b", "b.mkv"))
    )
    assert rows == [first | {"video": "v/a.mkv"}, second]
    with pytest.raises(ConfigError, match="line 1 is not a pair: it lacks rejected"):
        read_preference_data(table)


def test_what_is_wrong_is_said_with_its_place(official: Path, tmp_path: Path) -> None:
    (official / "videos" / "c.mkv").unlink()
    with pytest.raises(ConfigError, match=r"1 clips .* such as .*c\.mkv"):
        read_preference_data(official)
    (official / "pair.json").write_text('[{"video1": 9, "video2": 0, "frame_caption": "x"}]')
    with pytest.raises(
        ConfigError, match="pair 0 of pair.json: its video1 is 9, but metadata.json has the indices 0 to 3"
    ):
        read_preference_data(official)
    (official / "pair.json").write_text("{}")
    with pytest.raises(ConfigError, match="list of rows"):
        read_preference_data(official)
    table = tmp_path / "t.jsonl"
    for text, message in (
        ('{"prompt": "a"}', "lacks chosen and rejected"),
        ("{", "line 1 is not a pair: it is no JSON"),
        ("", "no pair"),
    ):
        table.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_preference_data(table)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        read_preference_data(torn)
    for path, message in (
        (tmp_path / "none.csv", "no preference data at .*none.csv: give a folder that holds"),
        (tmp_path, "has no known layout of preference data"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_preference_data(path)
