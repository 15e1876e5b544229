"""Readers of published preference data.

Rows have `prompt`, `chosen`, `rejected`, and optionally `score` and `margin`.

official    a folder with `metadata.json` (a list; `basic.clip_path` of each clip, relative) and `pair.json` (a list of
            `video1`, the winner, and `video2`, the loser, as indices into metadata.json; `frame_caption`, the prompt;
            `score`)
mirror      a folder with `train_data.json`, a list of rows, and unpacked `winvideos/` and `losevideos/`
table       a .csv, .json, .jsonl or .parquet file, whose columns `engine.labelling.pair_tables` reads

Clip paths may be relative to the file or its folder. VideoDPO weights a pair by its score (arXiv:2412.14167, sec. 3.3,
`engine.algorithms.dpo.pair_weight`); a pair without one has weight 1. Imports no torch.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files.tables import TABLE_READERS, json_list, json_table
from engine.files.text_files import TableRow
from engine.labelling.pair_tables import PAIRS_FILE, SIDES, Row, Tie, check_line, numbers, read_pair
from engine.request import PICTURE

METADATA, PAIRS, MIRROR = "metadata.json", "pair.json", "train_data.json"
MIRROR_FOLDERS = {"chosen": "winvideos", "rejected": "losevideos"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """One row of preference data: the `pair` returned by `read_pair`, or the `problem` in a sentence.

    `place` is the row's position, such as "line 3".
    """

    place: str
    folder: Path
    pair: Row | None = None
    problem: str = ""

    def clip(self, side: str) -> Path:
        """Return the clip's file: relative to the table's folder, or in the mirror's folder of that side."""
        assert self.pair is not None, "only rows without a problem have clips"
        value = self.pair[side]
        name = str(value.get("path") if isinstance(value, Mapping) else value)
        in_folder = self.folder / name
        in_mirror = self.folder / MIRROR_FOLDERS[side] / name
        return in_mirror if not isfile(in_folder) and isfile(in_mirror) else in_folder

    def pictures(self) -> dict[str, str]:
        """Return the paths of the pictures that both clips begin or end with, relative to the table's folder."""
        assert self.pair is not None, "only rows without a problem have pictures"
        named = {name: self.pair.get(name) for name in ("image", "last_image")}
        return {name: str(self.folder / str(value)) for name, value in named.items() if _is_file(value)}


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value != "" and not re.fullmatch(PICTURE, value)


def read_preference_data(path: Path, *, chosen_alone: bool = False) -> list[Row]:
    """Return the pairs of a folder or a file after checking that their clips exist.

    With `chosen_alone`, a table needs no rejected clips. Raises ConfigError for a bad row or a missing clip.
    """
    sides = ("chosen",) if chosen_alone else SIDES
    rows = []
    for row in read_rows(path, sides):
        if row.pair is None:
            raise ConfigError(f"{path}, {row.place} is not a pair: {row.problem}")
        rows.append({**row.pair, **row.pictures(), **{side: str(row.clip(side)) for side in sides}})
    if not rows:
        raise ConfigError(f"{path} contains no pair.")
    missing = [fields[side] for fields in rows for side in sides if not isfile(fields[side])]
    if missing:
        raise ConfigError(
            f"{len(missing)} clips of {path} are missing, such as {missing[0]}: unpack the archive, or restore them."
        )
    return rows


def read_rows(path: Path, sides: Sequence[str] = SIDES) -> Iterator[PairRow]:
    """Yield the rows of a folder or a table. Ties are left out, and their number is logged.

    Raises ConfigError when the path has no preference data, or cannot be read at all.
    """
    ties = 0
    folder, rows = _rows(path)
    for place, row in rows:
        try:
            if row.problem:
                raise ConfigError(row.problem)
            if path.name == PAIRS_FILE:
                check_line(row.fields)
            yield PairRow(place=place, folder=folder, pair=read_pair(row.fields, sides))
        except Tie:
            ties += 1
        except ConfigError as error:
            yield PairRow(place=place, folder=folder, problem=str(error))
    if ties:
        log.warning("%d rows of %s are ties and are left out.", ties, path)


def is_videodpo(path: Path) -> bool:
    """Return whether the folder has one of the two VideoDPO layouts."""
    return all((path / name).is_file() for name in (PAIRS, METADATA)) or (path / MIRROR).is_file()


def _rows(path: Path) -> tuple[Path, list[tuple[str, TableRow]]]:
    """Return the base folder of clip paths, and the rows with their positions."""
    if path.is_dir():
        return path, _official(path) if (path / PAIRS).is_file() else _mirror(path)
    kinds = ", ".join(TABLE_READERS)
    if not path.is_file():
        raise ConfigError(
            f"There is no preference data at {path}: give a folder that holds {PAIRS} or {MIRROR}, or a table of pairs "
            f"({kinds})."
        )
    if path.suffix not in TABLE_READERS:
        raise ConfigError(f"{path} cannot be read: preference data is a folder, or a file of these kinds: {kinds}.")
    return path.parent, [(f"line {row.line}", row) for row in TABLE_READERS[path.suffix](path).rows]


def _official(folder: Path) -> list[tuple[str, TableRow]]:
    clips, pairs = json_list(folder / METADATA), json_list(folder / PAIRS)
    rows = []
    for number, pair in enumerate(pairs):
        try:
            sides = {
                side: _clip_path(clips, pair, name) for side, name in zip(SIDES, ("video1", "video2"), strict=True)
            }
            row = {"prompt": str(pair["frame_caption"]), **sides, **numbers(pair)}
        except (KeyError, IndexError, TypeError, ValueError, ConfigError) as error:
            why = str(error) if isinstance(error, ConfigError) else f"it cannot be read ({error!r})."
            raise ConfigError(
                f"{folder} is not a VideoDPO folder: pair {number} of {PAIRS}: {why} A pair needs video1 and video2, "
                f"indices into {METADATA}, and frame_caption."
            ) from error
        rows.append((f"pair {number}", TableRow(line=number, fields=row)))
    return rows


def _clip_path(clips: list[Any], pair: Mapping[str, Any], name: str) -> str:
    index = pair[name]
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(clips):
        raise ConfigError(f"its {name} is {index!r}, but {METADATA} has the indices 0 to {len(clips) - 1}.")
    return str(clips[index]["basic"]["clip_path"])


def _mirror(folder: Path) -> list[tuple[str, TableRow]]:
    if not (folder / MIRROR).is_file():
        raise ConfigError(
            f"{folder} has no known layout of preference data: it needs {METADATA} and {PAIRS}, or {MIRROR}."
        )
    packed = [f"{side}.zip" for side in MIRROR_FOLDERS.values() if not (folder / side).is_dir()]
    if packed:
        raise ConfigError(f"{folder} lacks the folders of its clips: unpack {' and '.join(packed)} there first.")
    return [(f"line {row.line}", row) for row in json_table(folder / MIRROR).rows]
