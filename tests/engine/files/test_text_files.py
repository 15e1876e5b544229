"""Text that a person brings: every reader takes the same encodings, and names the line of any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.presets import load_train_preset
from engine.config.prompts import read_prompts
from engine.errors import DailiesError
from engine.jobs.handlers.score import prompt_of
from engine.labelling.preference_formats import read_preference_data
from engine.workspace import Workspace
from rewards.mix import read_mix
from rewards.text_files import EncodingError, decode, split_lines

WORD = "café"
PRESET = f'# {WORD}\ntitle = "{WORD}"\nalgorithm = "nft"\nmix = "motion"\nprompts = "mini"\n'
MIX = f'# a comment\ntitle = "{WORD}"\n[weights]\nt_lpips = 1.0\n'
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
MARKED = {"utf-16": b"\xff\xfe", "utf-32": b"\xff\xfe\x00\x00"}


def _encoded(text: str, encoding: str) -> bytes:
    """With a byte order mark, in little-endian order on any machine."""
    if encoding in MARKED:
        return MARKED[encoding] + text.encode(f"{encoding}-le")
    return text.encode(encoding)


def _prompts(folder: Path, content: bytes) -> Any:
    (folder / "p.txt").write_bytes(content)
    return read_prompts(str(folder / "p.txt"))


def _preset(folder: Path, content: bytes) -> Any:
    place = Workspace.from_env().saved / "train"
    place.mkdir(parents=True)
    (place / "own.toml").write_bytes(content)
    return load_train_preset("own").title


def _mix(folder: Path, content: bytes) -> Any:
    (folder / "own.toml").write_bytes(content)
    return read_mix(folder / "own.toml").title


def _caption(folder: Path, content: bytes) -> Any:
    (folder / "a.txt").write_bytes(content)
    return prompt_of(folder / "a.mp4", "")


def _table(kind: str) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, content: bytes) -> Any:
        for name in ("a.mkv", "b.mkv"):
            (folder / name).touch()
        (folder / f"t.{kind}").write_bytes(content)
        return [row["prompt"] for row in read_preference_data(folder / f"t.{kind}")]

    return read


ROW = {"prompt": WORD, "chosen": "a.mkv", "rejected": "b.mkv"}
READERS: dict[str, tuple[Callable[[Path, bytes], Any], str, Any]] = {
    "prompts": (_prompts, f"# a comment\n{WORD}\n", [WORD]),
    "preset": (_preset, PRESET, WORD),
    "mix": (_mix, MIX, WORD),
    "caption": (_caption, f"{WORD}\n", WORD),
    "csv": (_table("csv"), f"prompt,chosen,rejected\n{WORD},a.mkv,b.mkv\n", [WORD]),
    "jsonl": (_table("jsonl"), json.dumps(ROW, ensure_ascii=False) + "\n", [WORD]),
    "json": (_table("json"), json.dumps([ROW], ensure_ascii=False), [WORD]),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_reader_takes_the_same_encodings(name: str, encoding: str, ends: str, tmp_path: Path) -> None:
    read, text, wanted = READERS[name]
    assert read(tmp_path, _encoded(text.replace("\n", ends), encoding)) == wanted


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_any_other_encoding_is_one_sentence_with_the_line(name: str, encoding: str, tmp_path: Path) -> None:
    read, text, _ = READERS[name]
    with pytest.raises(DailiesError, match=r"line \d+: .*UTF-8"):
        read(tmp_path, text.encode(encoding))


def test_the_line_is_that_of_the_first_bad_byte() -> None:
    with pytest.raises(EncodingError, match="notes, line 3: the byte 0xe9 is not valid UTF-8 text"):
        decode(b"one\r\ntwo\rcaf\xe9\n", "notes")
    with pytest.raises(EncodingError, match="line 2: a NUL byte"):
        decode(b"one\nt\0wo", "notes")


def test_lines_end_where_an_editor_ends_them() -> None:
    odd = "a\u2028b\x85c\x0bd\x0ce\x1cf"
    assert split_lines(f"{odd}\r\ntwo\rthree\n") == [odd, "two", "three"]
    assert split_lines("") == []


def test_odd_separators_break_neither_prompts_nor_rows(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red\u2028ball\n# no\x85prompt\n a\x0bcube \n", encoding="utf-8")
    assert read_prompts(str(tmp_path / "p.txt")) == ["a red ball", "a cube"]
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / name).touch()
    row = {**ROW, "prompt": "a\u2028b\x85c"}
    (tmp_path / "t.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [one["prompt"] for one in read_preference_data(tmp_path / "t.jsonl")] == ["a\u2028b\x85c"]


def test_a_prompt_longer_than_a_request_takes_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"a\n{'b' * 2000}\n")
    assert len(read_prompts(str(tmp_path / "p.txt"))) == 2
    (tmp_path / "p.txt").write_text(f"a\n{'b' * 2001}\n")
    with pytest.raises(
        DailiesError, match=r"line 2, column .prompt.: a prompt has at most 2,000 characters, but this one has 2,001"
    ):
        read_prompts(str(tmp_path / "p.txt"))
