"""Preference data as it is found in the wild, to rows with `prompt`, `chosen`, `rejected` and maybe `score`.

official    a folder with `metadata.json` (a list; `basic.clip_path` of each clip, relative) and `pair.json` (a list of
            `video1` the winner and `video2` the loser, as places in metadata.json; `frame_caption` the prompt; `score`)
mirror      a folder with `train_data.json`, a list of rows, and unpacked `winvideos/` and `losevideos/`
table       a .csv, .json, .jsonl or .parquet file whose columns say prompt, chosen and rejected in one of several ways

Clip paths may be relative to the file or its folder. VideoDPO weights a pair by its score (arXiv:2412.14167, sec. 3.3,
`engine.algorithms.dpo.pair_weight`); a pair without one has weight 1. Imports no torch.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

METADATA, PAIRS, MIRROR = "metadata.json", "pair.json", "train_data.json"
SIDES = {"chosen": "winvideos", "rejected": "losevideos"}
NAMES = {
    "prompt": ("prompt", "frame_caption", "caption", "text"),
    "chosen": ("chosen", "winner", "win", "video_win", "win_video", "chosen_video", "video1", "video"),
    "rejected": ("rejected", "loser", "lose", "video_lose", "lose_video", "rejected_video", "video2"),
}
Row = dict[str, Any]


def read_preference_data(path: Path, *, chosen_alone: bool = False) -> list[Row]:
    """The pairs of a folder or a file, clips checked to be there. Raises ConfigError: what is missing, and where.

    With `chosen_alone` a table may do without rejected clips.
    """
    if path.is_dir():
        rows = _official(path) if (path / PAIRS).is_file() else _mirror(path)
    else:
        rows = _table(path, _read_rows(path), ("chosen",) if chosen_alone else tuple(SIDES))
    if not rows:
        raise ConfigError(f"{path} holds no pair.")
    missing = [row[side] for row in rows for side in SIDES if side in row and not Path(row[side]).is_file()]
    if missing:
        raise ConfigError(
            f"{len(missing)} clips of {path} are not there, such as {missing[0]}: unpack the archive, or put them back."
        )
    return rows


def is_videodpo(path: Path) -> bool:
    """Whether this is a folder in one of the two VideoDPO layouts."""
    return all((path / name).is_file() for name in (PAIRS, METADATA)) or (path / MIRROR).is_file()


def write_pairs(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """`pairs.jsonl` in a folder of clips, whose names the rows hold; the file."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _official(folder: Path) -> list[Row]:
    clips, pairs = _json_list(folder / METADATA), _json_list(folder / PAIRS)
    rows = []
    for number, pair in enumerate(pairs):
        try:
            sides = {side: clips[int(pair[name])] for side, name in (("chosen", "video1"), ("rejected", "video2"))}
            row: Row = {side: str(folder / clip["basic"]["clip_path"]) for side, clip in sides.items()}
            rows.append({"prompt": str(pair["frame_caption"]), **row, **_score(pair)})
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{folder} is no VideoDPO folder: Pair {number} of {PAIRS} cannot be read ({error!r}): it needs video1 "
                f"and video2, places in {METADATA}, and frame_caption."
            ) from error
    return rows


def _mirror(folder: Path) -> list[Row]:
    if not (folder / MIRROR).is_file():
        raise ConfigError(
            f"{folder} is no preference data that is known: it needs {METADATA} and {PAIRS}, or {MIRROR}."
        )
    packed = [f"{side}.zip" for side in SIDES.values() if not (folder / side).is_dir()]
    if packed:
        raise ConfigError(f"{folder} lacks the folders of its clips: unpack {' and '.join(packed)} there first.")
    return _table(folder / MIRROR, _json_list(folder / MIRROR))


def _read_rows(path: Path) -> list[Any]:
    if not path.is_file():
        raise ConfigError(f"There is no preference data at {path}.")
    if path.suffix == ".json":
        return _json_list(path)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [_json_line(path, number, line) for number, line in enumerate(_lines(path), start=1)]
    if path.suffix == ".parquet":
        return _parquet(path)
    raise ConfigError(f"{path} cannot be read: preference data is a folder, or a .csv, .json, .jsonl or .parquet file.")


def _parquet(path: Path) -> list[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}.") from error


def _lines(path: Path) -> Iterable[str]:
    return (line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path}, line {number} is no JSON: {error}.") from error


def _json_list(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(found, list):
        raise ConfigError(f"{path} must hold a list of rows, but holds a {type(found).__name__}.")
    return found


def _table(path: Path, rows: list[Any], sides: Sequence[str] = tuple(SIDES)) -> list[Row]:
    found = []
    for number, row in enumerate(rows, start=1):
        columns = {name: _column(row, names) for name, names in NAMES.items() if name == "prompt" or name in sides}
        lacking = [name for name, column in columns.items() if column is None]
        if lacking:
            known = ", ".join(row) if isinstance(row, Mapping) else type(row).__name__
            raise ConfigError(f"{path}, line {number} is no pair: it lacks {' and '.join(lacking)} (it has {known}).")
        clips = {side: str(_clip(path.parent, side, str(row[columns[side]]))) for side in sides}
        others = {name: value for name, value in row.items() if name not in SIDES}
        found.append({**others, "prompt": str(row[columns["prompt"]]), **clips, **_score(row)})
    return found


def _column(row: Any, names: Iterable[str]) -> str | None:
    return next((name for name in names if isinstance(row, Mapping) and row.get(name) not in (None, "")), None)


def _clip(folder: Path, side: str, name: str) -> Path:
    """Beside the table, or in the mirror's folder of that side."""
    beside = folder / name
    in_side = folder / SIDES[side] / name
    return in_side if not beside.is_file() and in_side.is_file() else beside


def _score(row: Mapping[str, Any]) -> Row:
    """The score as a number, if there is one above 0."""
    try:
        value = float(row["score"])
    except (KeyError, TypeError, ValueError):
        return {}
    return {"score": value} if value > 0 else {}
