"""Selection of a repository's files, and the gaps of a folder."""

import json
from pathlib import Path

import pytest

from engine.hub.selection import Needs, missing_files, select_files

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def select(names: list[str], variant: str | None = None, weight_map: dict[str, str] | None = None) -> set[str]:
    """The files chosen of a folder `net`, without the prefix."""
    needs = Needs(parts=("net",), variant=variant)
    chosen = select_files([f"net/{name}" for name in names], needs, lambda path: {"weight_map": weight_map})
    return {path.removeprefix("net/") for path in chosen}


SAFE, HALF, BIN = (f"diffusion_pytorch_model{end}" for end in (".safetensors", ".fp16.safetensors", ".bin"))


@pytest.mark.parametrize(
    ("names", "variant", "expected"),
    [
        ([SAFE, HALF, BIN], None, SAFE),
        ([SAFE, HALF, BIN], "fp16", HALF),
        ([SAFE, BIN], "fp16", SAFE),
        ([HALF, BIN], None, HALF),
        ([BIN], None, BIN),
        ([SAFE, "diffusion_pytorch_model.non_ema.safetensors"], None, SAFE),
    ],
)
def test_one_set_of_weights_is_chosen(names: list[str], variant: str | None, expected: str) -> None:
    assert select(["config.json", *names], variant) == {"config.json", expected}


def test_shards_are_those_of_the_index() -> None:
    """A repository may hold two numbers of shards; only one is listed by the index."""
    older = [f"model-0000{n}-of-00004.safetensors" for n in range(1, 5)]
    chosen = select(["config.json", INDEX, *SHARDS, *older], weight_map=dict(zip("ab", SHARDS, strict=True)))
    assert chosen == {"config.json", INDEX, *SHARDS}


@pytest.mark.parametrize(
    ("index", "shard"),
    [
        ("model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"),
        ("model.safetensors.index.fp16.json", "model-00001-of-00001.fp16.safetensors"),
    ],
)
def test_shards_in_half_precision(index: str, shard: str) -> None:
    plain = ["model.safetensors"]
    assert select(["config.json", index, shard, *plain], "fp16", {"a": shard}) == {"config.json", index, shard}
    assert select(["config.json", index, shard, *plain], None, {"a": shard}) == {"config.json", *plain}


def test_other_folders_and_loose_files_are_left_out() -> None:
    paths = ["model_index.json", "film-13b.safetensors", "README.md", "vae/config.json", f"vae/{SAFE}"]
    paths += ["safety_checker/model.safetensors", "tokenizer/spiece.model", "tokenizer/deep/x.json"]
    needs = Needs(parts=("vae", "tokenizer"), optional=("transformer_2",), files=("model_index.json",))
    chosen = select_files(paths, needs, lambda path: {})
    assert set(chosen) == {"model_index.json", "vae/config.json", f"vae/{SAFE}", "tokenizer/spiece.model"}
    assert chosen[-1] == f"vae/{SAFE}", "small files come first"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    return tmp_path


NET = Needs(parts=("net",))


def put(folder: Path, name: str, table: object = None) -> None:
    (folder / "net" / name).write_text(json.dumps(table or {}))


def test_a_part_is_complete_with_all_its_shards(folder: Path) -> None:
    assert missing_files(folder, NET) == ["net"]
    put(folder, "config.json")
    assert missing_files(folder, NET) == ["net/weights"]
    put(folder, SHARDS[0])
    assert missing_files(folder, NET) == ["net/the index of its shards"]
    put(folder, INDEX, {"weight_map": dict(zip("ab", SHARDS, strict=True))})
    assert missing_files(folder, NET) == [f"net/{SHARDS[1]}"]
    put(folder, SHARDS[1])
    assert missing_files(folder, NET) == []


def test_a_damaged_index_is_missing_weights(folder: Path) -> None:
    for name in ("config.json", *SHARDS):
        put(folder, name)
    (folder / "net" / INDEX).write_text("{torn")
    assert missing_files(folder, NET) != []


def test_weights_without_their_configuration(folder: Path) -> None:
    put(folder, SAFE)
    assert missing_files(folder, NET) == ["net/config.json"]


def test_an_optional_part_counts_where_the_index_lists_it(folder: Path) -> None:
    needs = Needs(optional=("transformer_2",))
    (folder / "model_index.json").write_text(json.dumps({"transformer_2": [None, None]}))
    assert missing_files(folder, needs) == []
    (folder / "model_index.json").write_text(json.dumps({"transformer_2": ["diffusers", "X"]}))
    assert missing_files(folder, needs) == ["transformer_2"]
