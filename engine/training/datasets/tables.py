"""From the files of a data set to one table that training reads. Imports no torch.

The folder `files` of a data set holds links to the downloaded files, and what was unpacked of archives. Videos and
pictures inside tables are written there. The table names all of them relative to its own folder.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.data_sets import DataKind
from engine.config.prompts import PICTURES, misspelt
from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.files.tables import TABLE_READERS
from engine.files.text_files import TableRow, prompt_lines
from engine.labelling.pair_tables import NAMES, SIDES, Tie, read_pair
from engine.labelling.preference_formats import is_videodpo, read_rows
from engine.request import PROMPT_LIMIT
from engine.training.data.clip_rows import LABELS, read_caption
from engine.training.datasets.columns import columns_of, kind_of, one_kind, rows_of, unknown_layout
from engine.video.reader import VIDEO_SUFFIXES

FILES = "files"
INSIDE = "inside"  # folder of the videos and pictures that tables contain
TABLE_KINDS = tuple(TABLE_READERS)
IMAGE_KINDS = (".png", ".jpg", ".jpeg", ".webp")
TIE = "it is a tie."
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The table that was made: its kind, its number of rows, and how many were left out by the reason."""

    kind: DataKind
    rows: int
    left_out: Counter[str]


def make_table(name: str, folder: Path) -> Made:
    """Write the table of a data set's `files` into `folder`.

    Unusable rows are left out and counted. Raises ConfigError, which lists the columns, for a layout that is not known,
    and when no row is usable.
    """
    files = _Files(folder / FILES)
    kind, rows = _layout(name, files)
    left_out, lines = Counter[str](), []
    for place, row in rows:
        try:
            lines.append(json.dumps(_line(row, kind, place, files), ensure_ascii=False) + "\n")
        except Tie:
            left_out[TIE] += 1
        except ConfigError as error:
            left_out[str(error)] += 1
    if not lines:
        reasons = left_out.most_common(1)
        raise ConfigError(f"'{name}' has no usable row: " + (reasons[0][0] if reasons else "its tables are empty."))
    write_text_atomic(folder / f"{kind}.jsonl", "".join(lines))
    return Made(kind=kind, rows=len(lines), left_out=left_out)


class _Files:
    """The files of a data set, and where a table's clips are among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = sorted(path for path in root.rglob("*") if path.is_file())
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
        self._written = 0

    def of(self, *suffixes: str) -> list[Path]:
        return [path for path in self.paths if path.suffix.lower() in suffixes]

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def find(self, value: Any, folder: Path, kinds: tuple[str, ...]) -> str:
        """Return the path of a cell's video or picture, relative to the data set's folder.

        A file is looked for from the table's folder, from the data set's folder, and then by its name alone. A video
        or picture inside the cell is written to a file. Raises ConfigError.
        """
        inside, named = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (None, value)
        if isinstance(value, bytes):
            inside, named = value, None
        if inside is not None:
            return self._write(bytes(inside), str(named or ""), kinds)
        text = str(named or "")
        if "://" in text:
            raise ConfigError(
                "its clips are addresses of web pages, not files of the data set: download them yourself."
            )
        found = [path for base in (folder, self.root) if (path := self._inside(base, text)) is not None]
        found += alike if len(alike := self._by_name[Path(text).name]) == 1 else []
        if not found:
            raise ConfigError("its clip or picture is not among the files of the data set.")
        if found[0].suffix.lower() not in kinds:
            raise ConfigError(f"its file ends in '{found[0].suffix[:10]}', not in one of {', '.join(kinds)}.")
        return f"{FILES}/{self.name(found[0])}"

    def _inside(self, base: Path, text: str) -> Path | None:
        path = base / text
        is_safe = text and "\0" not in text and not Path(text).is_absolute() and ".." not in Path(text).parts
        return path if is_safe and path.is_file() else None

    def _write(self, content: bytes, named: str, kinds: tuple[str, ...]) -> str:
        suffix = Path(named).suffix.lower()
        suffix = suffix if suffix in kinds else kinds[0]
        path = self.root / INSIDE / f"{self._written // 1000:04d}" / f"{self._written:07d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._written += 1
        return f"{FILES}/{self.name(path)}"


Placed = tuple[Path, TableRow]
"""The folder of a row's paths, and the row."""


def _layout(name: str, files: _Files) -> tuple[DataKind, Iterator[Placed]]:
    """Return what the files contain, and their rows."""
    folders = {path.parent for path in files.of(".json")}
    known = next((folder for folder in sorted(folders) if is_videodpo(folder)), None)
    if known is not None:
        return "pairs", _videodpo(known)
    tables = {files.name(path): columns_of(path) for path in files.of(*TABLE_KINDS)}
    kind = one_kind(name, tables)
    if kind is not None:
        return kind, _tables(files, [path for path, columns in tables.items() if kind_of(columns) == kind])
    texts, videos = files.of(".txt"), files.of(*VIDEO_SUFFIXES)
    if tables or not texts:
        raise unknown_layout(name, tables, [path.name for path in files.paths])
    return ("captions", _captioned(videos)) if videos else ("prompts", _prompts(texts))


def _tables(files: _Files, tables: list[str]) -> Iterator[Placed]:
    for table in tables:
        path = files.root / table
        yield from ((path.parent, row) for row in rows_of(path))


def _videodpo(folder: Path) -> Iterator[Placed]:
    for row in read_rows(folder):
        sides = {} if row.pair is None else {side: str(row.clip(side)) for side in SIDES}
        inside = {side: str(Path(path).relative_to(folder)) for side, path in sides.items()}
        yield folder, TableRow(line=0, fields={**(row.pair or {}), **inside}, problem=row.problem)


def _captioned(videos: list[Path]) -> Iterator[Placed]:
    for video in videos:
        caption = video.with_suffix(".txt")
        try:
            fields, problem = {"prompt": read_caption(caption), "video": video.name}, ""
        except ConfigError:
            fields, problem = {}, "it has no caption, or an empty or too long one."
        yield video.parent, TableRow(line=0, fields=fields, problem=problem)


def _prompts(texts: list[Path]) -> Iterator[Placed]:
    for path in texts:
        yield from ((path.parent, TableRow(line=line, fields={"prompt": text})) for line, text in prompt_lines(path))


def _line(row: TableRow, kind: DataKind, folder: Path, files: _Files) -> Row:
    """Return a row of the table. Raises Tie, and ConfigError with a clause that begins with "it"."""
    if row.problem:
        raise ConfigError(row.problem)
    if kind == "prompts":
        return _prompt_line(row.fields, folder, files)
    needed = SIDES if kind == "pairs" else SIDES[:1]
    pair = read_pair(row.fields, needed)
    sides: Row = {side: files.find(pair[side], folder, VIDEO_SUFFIXES) for side in needed}
    if kind == "pairs":
        numbers: Row = {name: pair[name] for name in ("score", "margin") if name in pair}
        return {"prompt": pair["prompt"], **sides, **numbers, "source": "dataset", **_pictures(pair, folder, files)}
    line = {"prompt": pair["prompt"], "video": sides["chosen"], **_pictures(pair, folder, files)}
    if kind == "captions":
        return line
    label = str(row.fields.get("label")).strip().lower()
    if label not in LABELS:
        raise ConfigError(f"its label is not one of {', '.join(LABELS)}.")
    return {**line, "label": LABELS[label]}


def _prompt_line(fields: Mapping[str, Any], folder: Path, files: _Files) -> Row:
    column = next((name for name in NAMES["prompt"] if fields.get(name)), None)
    if column is None:
        raise ConfigError("it has no prompt.")
    prompt = fields[column].strip() if isinstance(fields[column], str) else ""
    if not prompt or len(prompt) > PROMPT_LIMIT:
        raise ConfigError(f"its prompt is no text, empty, or longer than {PROMPT_LIMIT:,} characters.")
    others = {name: value for name, value in fields.items() if _is_passed_on(name, value, fields)}
    return {**others, "prompt": prompt, **_pictures(fields, folder, files)}


def _pictures(fields: Mapping[str, Any], folder: Path, files: _Files) -> Row:
    given = {name: fields[name] for name in PICTURES if fields.get(name)}
    return {name: files.find(value, folder, IMAGE_KINDS) for name, value in given.items()}


def _is_passed_on(name: str, value: Any, columns: Collection[str]) -> bool:
    """Return whether a column stays: negative prompts, and what reward functions may read."""
    is_plain = isinstance(value, str | bool | int | float) and value == value
    return is_plain and name not in (*NAMES["prompt"], *PICTURES) and misspelt(name, columns) is None
