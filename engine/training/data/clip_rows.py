"""Rows for training on single clips: videos with captions, and clips that were found good or bad.

captions    a folder of videos, each with its caption in a text file of the same name (`a.mp4`, `a.txt`); or a table
            (CSV, JSON, JSON Lines, Parquet) with the columns video or file_name, and prompt, caption or text; or a
            folder with such a table called `metadata`
ratings     such a table with a column `label` (true, good, 1 or 1.0; false, bad, 0 or 0.0); or preference data, of
            which each preferred clip is good and each rejected one bad

Rows have `prompt` and the clip `chosen`, and for ratings `label`. Imports no torch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files.tables import TABLE_READERS
from engine.files.text_files import text_of
from engine.labelling.preference_formats import is_videodpo, read_preference_data
from engine.request import PROMPT_LIMIT
from engine.video.reader import VIDEO_SUFFIXES, videos_in

METADATA = "metadata"
LABELS = {"true": True, "good": True, "1": True, "1.0": True, "false": False, "bad": False, "0": False, "0.0": False}
Row = dict[str, Any]


def read_captioned(path: Path) -> list[Row]:
    """Return the videos of a folder or a table with their captions.

    Raises ConfigError for a path without videos, a video without a caption, or a missing file.
    """
    table = _table_of(path)
    if table is not None:
        return read_preference_data(table, chosen_alone=True)
    folders = [path, *sorted(folder for folder in path.rglob("*") if folder.is_dir())]
    videos = [video for folder in folders for video in videos_in(folder)]
    if not videos:
        raise ConfigError(
            f"{path} contains no videos ({', '.join(VIDEO_SUFFIXES)}) and no table called {METADATA}: name a folder of "
            "videos with captions, or a table."
        )
    bare = [video for video in videos if not video.with_suffix(".txt").is_file()]
    if bare:
        raise ConfigError(
            f"{len(bare)} of {len(videos)} videos of {path} have no caption, such as {bare[0].name}: write it into "
            f"{bare[0].stem}.txt next to the video."
        )
    return [{"prompt": read_caption(video.with_suffix(".txt")), "chosen": str(video)} for video in videos]


def read_rated(path: Path) -> list[Row]:
    """Return the rated clips of a table or of preference data.

    Raises ConfigError for a label that is neither good nor bad, and as `read_preference_data` does.
    """
    table = path if is_videodpo(path) else _table_of(path)
    if table is None:
        raise ConfigError(f"{path} has no rated clips: name a table with the columns video, prompt and label.")
    if table.suffix in TABLE_READERS and _has_labels(table):
        rows = read_preference_data(table, chosen_alone=True)
        return [{**row, "label": _label(row, number, table)} for number, row in enumerate(rows, start=1)]
    return rated_of_pairs(read_preference_data(table))


def rated_of_pairs(pairs: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return two rated clips for each pair: the preferred one is good, unless both are bad."""
    return [
        {**{name: value for name, value in pair.items() if name != "rejected"}, "chosen": clip, "label": is_good}
        for pair in pairs
        for clip, is_good in ((pair["chosen"], not pair.get("both_bad", False)), (pair["rejected"], False))
    ]


def _table_of(path: Path) -> Path | None:
    """Return the table at a path or in a folder; None for a folder without one."""
    if not path.is_dir():
        return path
    found = [path / f"{METADATA}{suffix}" for suffix in TABLE_READERS]
    return next((file for file in found if file.is_file()), None)


def _has_labels(table: Path) -> bool:
    """Return whether a table rates single clips: a label, and no second clip that it could refer to."""
    rows = [row.fields for row in TABLE_READERS[table.suffix](table).rows if not row.problem]
    return any("label" in row and ("video" in row or "file_name" in row) for row in rows)


def _label(row: Mapping[str, Any], number: int, table: Path) -> bool:
    text = str(row.get("label")).strip().lower()
    if text not in LABELS:
        raise ConfigError(
            f"{table}, row {number}: the label is {str(row.get('label'))[:40]!r}, but must be one of "
            f"{', '.join(LABELS)}."
        )
    return LABELS[text]


def read_caption(file: Path) -> str:
    """Return the text of a caption's file as one line. Raises ConfigError for an empty or too long one."""
    text = " ".join(text_of(file).split())
    if not text or len(text) > PROMPT_LIMIT:
        what = f"has {len(text):,} characters, but a prompt has at most {PROMPT_LIMIT:,}" if text else "is empty"
        raise ConfigError(f"The caption {file} {what}: correct it.")
    return text
