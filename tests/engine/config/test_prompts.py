"""Prompt files of every kind give the same rows; bad ones are refused with file, row and column."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from engine.config.prompts import PromptRow, prompt_sets, read_prompts, read_rows, spread, stored_rows
from engine.errors import ConfigError
from engine.storage.images import load_picture
from engine.workspace import Workspace
from tests.stub_hub import running_hub, use_hub

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ROWS = [
    {"prompt": "a red ball", "image": "pictures/first.png", "last_image": "", "negative": "dark"},
    {"prompt": "a blue cube", "image": "pictures/first.png", "last_image": "pictures/last.jpg", "negative": ""},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "pictures" / "first.png")
    Image.fromarray(255 - PIXELS).save(tmp_path / "pictures" / "last.jpg")
    return tmp_path


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        names = list(rows[0])
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_table_gives_the_same_rows(folder: Path, kind: str, workspace: Workspace) -> None:
    rows = stored_rows(str(write(folder, kind, ROWS)), workspace)
    assert [row.prompt for row in rows] == ["a red ball", "a blue cube"]
    assert [row.negative for row in rows] == ["dark", None]
    first, last = rows[1].image, rows[1].last_image
    assert rows[0].image == first and rows[0].last_image is None and first is not None and last is not None
    assert np.array_equal(load_picture(workspace, first), PIXELS)
    assert load_picture(workspace, last).shape == PIXELS.shape
    assert rows[0].fields() == {"prompt": "a red ball", "image": first, "negative_prompt": "dark"}


def test_text_files_and_names_are_prompts_alone(folder: Path, workspace: Workspace) -> None:
    (folder / "lines.txt").write_text("# a comment\na red ball\n\n  a cube \n")
    assert stored_rows(str(folder / "lines.txt"), workspace) == [PromptRow(prompt=p) for p in ("a red ball", "a cube")]
    assert len(read_prompts("mini")) == 256 and "mini" in prompt_sets()


def test_pictures_outlive_their_files(folder: Path, workspace: Workspace) -> None:
    """They are copied once, by their content."""
    rows = stored_rows(str(write(folder, "jsonl", ROWS)), workspace)
    assert len(list(workspace.pictures.iterdir())) == 2
    (folder / "pictures" / "first.png").unlink()
    again = write(folder, "csv", [{"prompt": "x", "image": rows[0].image}])
    assert stored_rows(str(again), workspace)[0].image == rows[0].image
    assert np.array_equal(load_picture(workspace, str(rows[0].image)), PIXELS)


def test_pictures_inside_a_table_and_other_columns(folder: Path, workspace: Workspace) -> None:
    """Data sets store pictures as bytes in a structure; other columns go to reward functions."""
    content = (folder / "pictures" / "first.png").read_bytes()
    rows = [{"prompt": "x", "image": {"bytes": content, "path": None}, "subject": "ball"}]
    row = stored_rows(str(write(folder, "parquet", rows)), workspace)[0]
    assert np.array_equal(load_picture(workspace, str(row.image)), PIXELS)
    assert row.to_dict() == {"prompt": "x", "image": row.image, "subject": "ball"}


def test_pictures_stand_upright(folder: Path, workspace: Workspace) -> None:
    """As a camera's EXIF data says."""
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(PIXELS).save(folder / "turned.png", exif=tag)
    row = stored_rows(str(write(folder, "jsonl", [{"prompt": "x", "image": "turned.png"}])), workspace)[0]
    assert np.array_equal(load_picture(workspace, str(row.image)), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("kind", "row", "sentence"),
    [
        ("jsonl", {"prompt": "x", "image": "none.png"}, r"rows.jsonl, line 2, column 'image': there is no file 'none"),
        ("csv", {"prompt": "", "image": ""}, r"rows.csv, line 3, column 'prompt': there is no prompt"),
        ("jsonl", {"prompt": 5}, r"line 2, column 'prompt': '5' is no text"),
        ("jsonl", {"prompt": "x", "image": [1]}, r"line 2, column 'image': '\[1\]' is no picture"),
        ("json", {"prompt": "x", "lastimage": "a.png"}, "column 'lastimage': this .* Did you mean 'last_image'"),
        ("jsonl", {"prompt": "x" * 2001}, r"line 2, column 'prompt': .* at most 2,000 characters.* 2,001"),
        ("jsonl", {"prompt": "x", "negative": "x" * 2001}, "column 'negative': .* at most 2,000"),
        ("parquet", {"prompt": None}, r"rows.parquet, row 2, column 'prompt': there is no prompt"),
        ("jsonl", {"prompt": "x", "image": "a\0b"}, "column 'image': there is no file"),
        ("jsonl", {"prompt": "x", "image": "~nobody-here/a.png"}, "column 'image': there is no file"),
        ("jsonl", {"prompt": "x", "image": "a" * 300}, "column 'image': there is no file"),
    ],
)
def test_bad_rows_are_named(folder: Path, kind: str, row: dict[str, Any], sentence: str) -> None:
    good = {"prompt": "a ball", **({"image": ""} if kind == "csv" else {})}
    with pytest.raises(ConfigError, match=sentence) as said:
        read_rows(str(write(folder, kind, [good, row])))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("content", [b"", b"torn", b"\x89PNG\r\n\x1a\n torn"])
def test_files_that_are_no_pictures_are_named(folder: Path, content: bytes, workspace: Workspace) -> None:
    (folder / "bad.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"rows.jsonl, line 1, column 'image': '.*bad.png' cannot be read as a pict"):
        stored_rows(str(write(folder, "jsonl", [{"prompt": "x", "image": "bad.png"}])), workspace)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", "{}\n", "line 1, column 'prompt': there is no prompt"),
        ("a.jsonl", "{torn\n", "line 1: it is no JSON"),
        ("a.jsonl", "\n", "contains no prompt: write one per line, or a table"),
        ("a.csv", "prompt;image\nx;y\n", "is separated by semicolons"),
        ("a.parquet", "torn", "cannot be read as Parquet"),
        ("a.json", "{}", "must contain a list of rows"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        read_rows(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["prompt_id", "prompt_en", "prompts", "image_id", "image_1", "image_url", "first_image"]
)
def test_columns_with_names_of_their_own_are_passed_on(folder: Path, name: str) -> None:
    """Only a name that misspells a column which the table lacks is refused."""
    assert read_rows(str(write(folder, "jsonl", [{"prompt": "x", name: "3"}])))[0].more == {name: "3"}


def test_rows_are_spread_evenly() -> None:
    assert spread(list(range(10)), 3) == [0, 3, 6] and spread([1], 5) == [1]


def test_names_of_data_sets_of_the_hub() -> None:
    with pytest.raises(ConfigError, match="names no data set: write hub:owner/name"):
        read_rows("hub:nothing")


@pytest.mark.parametrize("permission", [None, "0"])
def test_no_data_set_is_downloaded_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permission: str | None
) -> None:
    """The hub is not asked. What `dailies datasets get` left in the hub's cache is read."""
    if permission is None:
        monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    else:
        monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", permission)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(pa.table({"prompt": ["a red ball"]}), source / "train-00000-of-00001.parquet")
    with running_hub() as hub:
        hub.add("owner/prompts", source)
        use_hub(hub, monkeypatch)
        with pytest.raises(
            ConfigError, match="'owner/prompts' is not in the hub's cache: run `dailies datasets get own"
        ):
            read_rows("hub:owner/prompts#train")
        assert hub.tokens == []
    cached = tmp_path / "hub" / "datasets--owner--prompts"
    (cached / "snapshots").mkdir(parents=True)
    source.rename(cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    assert [row.prompt for row in read_rows("hub:owner/prompts")] == ["a red ball"]


def test_data_sets_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    """Through `datasets`, which also opens a folder of the same layout under a relative name; pictures stay encoded."""
    (folder / "a.mp4").write_bytes(b"no video")
    picture, video = str(folder / "pictures" / "first.png"), str(folder / "a.mp4")
    rows = [{"prompt": "a red ball", "image": picture, "prompt_id": 3, "video": video}]
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "image": datasets.Image(),
            "prompt_id": datasets.Value("int64"),
            "video": datasets.Video(decode=False),
        }
    )
    (folder / "owner" / "name" / "small").mkdir(parents=True)
    table = datasets.Dataset.from_list(rows, features=features).cast_column("video", datasets.Video())
    table.to_parquet(folder / "owner" / "name" / "small" / "train.parquet")
    card = "---\nconfigs:\n- config_name: small\n  data_files: small/train.parquet\n---\n"
    (folder / "owner" / "name" / "README.md").write_text(card)
    monkeypatch.chdir(folder)
    row = stored_rows("hub:owner/name/small", workspace)[0]
    assert (row.prompt, dict(row.more)) == ("a red ball", {"prompt_id": 3})
    assert np.array_equal(load_picture(workspace, str(row.image)), PIXELS)
    with pytest.raises(ConfigError, match="'owner/name' cannot be read .*check its name, subset and split"):
        read_rows("hub:owner/name/large")
