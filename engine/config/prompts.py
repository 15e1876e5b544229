"""Prompts of files: texts, and rows with pictures and negative prompts. Imports no torch.

    prompt       what the clip shows
    image        the picture that it begins with, optional
    last_image   the picture that it ends with, optional
    negative     the negative prompt, optional (also `negative_prompt`)

Sources are a text file (one prompt per line, `#` begins a comment), a table (.csv, .json, .jsonl, .parquet) with these
columns, and a data set of the hub, `hub:owner/name`, with an optional `/subset`, `@revision` and `#split` (default:
train). A picture is a path, relative to its file, or a column of pictures as data sets store them (bytes). Other
columns are passed to reward functions. Pictures are copied into the workspace before they are used, see
`SourceRow.stored`.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from engine.config.data_sets import find_data_set
from engine.config.presets import folders_of
from engine.errors import ConfigError, StoreError
from engine.files.tables import TABLE_READERS
from engine.files.text_files import Table, TableRow, prompt_lines
from engine.hub.permission import ALLOW_DOWNLOAD, is_automatic
from engine.hub.repository import DEFAULT_REVISION, HubSource
from engine.request import PICTURE, PROMPT_LIMIT
from engine.storage.images import read_picture, save_picture
from engine.workspace import Workspace
from rewards.errors import did_you_mean

PICTURES = ("image", "last_image")
TEXTS = {"prompt": ("prompt",), "negative": ("negative", "negative_prompt")}
COLUMNS = ("prompt", *PICTURES, "negative", "negative_prompt")
HUB, TEXT = "hub:", ".txt"
HUB_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(/(?P<subset>[\w.-]+))?(@(?P<revision>[\w./-]+))?(#(?P<split>[\w.-]+))?")
NEARLY = 0.8  # similarity from which an unknown column is a misspelt one
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """A prompt with its pictures and its negative prompt (None: the model's).

    Pictures are names in the workspace's store. `more` are the row's other columns.
    """

    prompt: str
    image: str | None = None
    last_image: str | None = None
    negative: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `GenerationRequest` that the row sets."""
        named = {"image": self.image, "last_image": self.last_image, "negative_prompt": self.negative}
        return {"prompt": self.prompt, **{name: value for name, value in named.items() if value is not None}}

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a row of training data: the columns that are set."""
        named = {name: getattr(self, name) for name in (*PICTURES, "negative")}
        return {**self.more, "prompt": self.prompt, **{name: value for name, value in named.items() if value}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A row whose pictures are not yet in a store: paths, contents, or names of stored pictures.

    `place` is the row's position, such as "prompts.csv, line 3".
    """

    prompt: str
    place: str
    pictures: Mapping[str, Path | bytes | str] = field(default_factory=dict)
    negative: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def stored(self, workspace: Workspace) -> PromptRow:
        """Copy the row's pictures into the workspace. Raises ConfigError for a file that is no picture."""
        names = {column: self._stored(column, picture, workspace) for column, picture in self.pictures.items()}
        return PromptRow(
            prompt=self.prompt,
            image=names.get("image"),
            last_image=names.get("last_image"),
            negative=self.negative,
            more=self.more,
        )

    def _stored(self, column: str, picture: Path | bytes | str, workspace: Workspace) -> str:
        if isinstance(picture, str):
            return picture
        name = str(picture) if isinstance(picture, Path) else f"a picture of {len(picture):,} bytes"
        try:
            pixels = read_picture(picture, name)
        except StoreError as error:
            raise ConfigError(f"{self.place}, column '{column}': {error}") from error
        return save_picture(workspace, pixels)


def prompt_sets() -> list[str]:
    """Return the names of the prompt files, sorted."""
    files = (file for folder in folders_of("prompts") for file in folder.glob("*.*"))
    return sorted({file.stem for file in files if file.suffix in (TEXT, *TABLE_READERS)})


def find_prompts(name: str) -> Path:
    """Return the file in `presets/prompts`, at the path `name`, or of a data set of the workspace.

    Raises ConfigError when there is none.
    """
    own = (
        folder / f"{name}{suffix}" for folder in reversed(folders_of("prompts")) for suffix in (TEXT, *TABLE_READERS)
    )
    try:
        path = next((candidate for candidate in (*own, Path(name)) if candidate.is_file()), None)
    except OSError:  # a name that is too long, a folder that cannot be read
        path = None
    path = path or find_data_set(name, ("prompts",))
    if path is None:
        raise ConfigError(f"There are no prompts '{name[:200]}'. {did_you_mean(name, prompt_sets())}".rstrip())
    return path


def read_prompts(name: str) -> list[str]:
    """Return the texts of the prompts `name`. Raises ConfigError like `read_rows`."""
    return [row.prompt for row in read_rows(name)]


def read_rows(name: str, *, with_paths: bool = True) -> list[SourceRow]:
    """Return the prompts of a file or of a data set of the hub.

    `name` is that of a file of `presets/prompts`, a path, or a data set. Raises ConfigError, which names the file, the
    row and the column, for a missing file or picture, an empty or too long prompt, a value of another type, and a
    misspelt column. Without `with_paths`, it is also raised for a picture that is not in the store.
    """
    if name.startswith(HUB):
        where, folder, table, unit = name, Path(), _hub_table(name), "row"
    else:
        path = find_prompts(name)
        where, folder, table = str(path), path.parent, _table(path)
        unit = "row" if path.suffix == ".parquet" else "line"
        _check_columns(table, where, unit)
    base = folder if with_paths else None
    rows = [_read_row(row, f"{where}, {unit} {row.line}", base) for row in table.rows]
    if not rows:
        raise ConfigError(f"{where} contains no prompt: write one per line, or a table with the column 'prompt'.")
    return rows


def stored_rows(name: str, workspace: Workspace) -> list[PromptRow]:
    """Return the prompts `name` with their pictures copied into the workspace. Raises ConfigError."""
    return [row.stored(workspace) for row in read_rows(name)]


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return `count` evenly spaced rows, or all if there are fewer."""
    count = min(count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def _table(path: Path) -> Table:
    if path.suffix in TABLE_READERS:
        return TABLE_READERS[path.suffix](path)
    rows = (TableRow(line=number, fields={"prompt": prompt}) for number, prompt in prompt_lines(path))
    return Table(rows=tuple(rows))


def _read_row(row: TableRow, place: str, folder: Path | None) -> SourceRow:
    if row.problem:
        raise ConfigError(f"{place}: {row.problem}")
    return source_row(row.fields, place, folder)


def source_row(fields: Mapping[str, Any], place: str, folder: Path | None) -> SourceRow:
    """Read the columns of a row.

    `folder` is the base of relative paths; None: only names of stored pictures are accepted.
    Raises ConfigError, which names `place`.
    """
    prompt = _text(fields, "prompt", place)
    if not prompt:
        raise ConfigError(f"{place}, column 'prompt': there is no prompt; write what the clip should show.")
    found = {column: _picture(fields.get(column), f"{place}, column '{column}'", folder) for column in PICTURES}
    return SourceRow(
        prompt=prompt,
        place=place,
        pictures={column: picture for column, picture in found.items() if picture is not None},
        negative=_text(fields, "negative", place),
        more={name: value for name, value in fields.items() if name not in COLUMNS},
    )


def _check_columns(table: Table, where: str, unit: str) -> None:
    """Raise ConfigError for a column whose name is nearly a known one.

    Its values would be ignored.
    """
    for row in table.rows:
        for name in row.fields.keys() - set(COLUMNS):
            if near := misspelt(name, row.fields):
                place = f"{where}, {unit} {row.line}, column '{name[:40]}'"
                raise ConfigError(f"{place}: this column is not known. Did you mean '{near}'?")


def misspelt(name: str, columns: Collection[str]) -> str | None:
    """Return the known column that the name of a table's column misspells; None for any other name.

    A known column that the table has is not misspelt, and names such as `image_id` are names of their own.
    """
    near = None if name in COLUMNS else _most_alike(name)
    same = next((names for names in TEXTS.values() if near in names), (near,))
    return None if any(known in columns for known in same) else near


@lru_cache
def _most_alike(name: str) -> str | None:
    known = [column for column in COLUMNS if not name.startswith(f"{column}_")]
    return next(iter(difflib.get_close_matches(name.lower(), known, n=1, cutoff=NEARLY)), None)


def _text(fields: Mapping[str, Any], column: str, place: str) -> str | None:
    """Return a text without outer white space; None for a missing or empty one. Raises ConfigError."""
    name = next((name for name in TEXTS[column] if fields.get(name) not in (None, "")), column)
    value = fields.get(name)
    if value is None:
        return None
    where = f"{place}, column '{name}'"
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {str(value)[:40]!r} is no text; put it in quotes.")
    if len(value.strip()) > PROMPT_LIMIT:
        raise ConfigError(
            f"{where}: a prompt has at most {PROMPT_LIMIT:,} characters, but this one has {len(value.strip()):,}; "
            "shorten it."
        )
    return value.strip() or None


def _picture(value: Any, where: str, folder: Path | None) -> Path | bytes | str | None:
    """Return a picture's path, content, or name in the store; None for an empty cell. Raises ConfigError."""
    if isinstance(value, Mapping):  # as data sets store pictures
        value = value.get("bytes") or value.get("path")
    if not value:
        return None
    if isinstance(value, str) and re.fullmatch(PICTURE, value):
        return value
    if folder is None:
        raise ConfigError(f"{where}: a picture cannot be loaded from here: use `dailies generate --prompts FILE`.")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {str(value)[:40]!r} is no picture; write the path of a PNG or JPEG file.")
    try:
        path = folder / Path(value).expanduser()
        is_there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown user, a NUL
        is_there = False
    if not is_there:
        raise ConfigError(
            f"{where}: there is no file '{value[:200]}'; paths are relative to the folder of the prompts."
        )
    return path


def _hub_table(name: str) -> Table:
    """Return the rows of a hub data set, downloaded if allowed, else from the cache.

    Videos and sounds are left out. Raises ConfigError.
    """
    match = HUB_NAME.fullmatch(name.removeprefix(HUB))
    if match is None:
        raise ConfigError(
            f"'{name[:100]}' names no data set: write hub:owner/name, with /subset, @revision or #split if needed."
        )
    import datasets

    place, revision = _hub_place(match["id"], match["revision"])
    try:
        rows = datasets.load_dataset(place, match["subset"], revision=revision, split=match["split"] or "train")
        others = [column for column, kind in rows.features.items() if hasattr(kind, "decode")]
        rows = rows.remove_columns([column for column in others if column not in PICTURES])
        values = rows.with_format("arrow")[:].to_pylist()  # pictures as they are stored
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise ConfigError(
            f"The data set '{match['id']}' cannot be read ({why}): check its name, subset and split"
            + (", and the network." if is_automatic() else f", or set {ALLOW_DOWNLOAD}=1 to read it from the hub.")
        ) from error
    return Table(rows=tuple(TableRow(line=number, fields=row) for number, row in enumerate(values, start=1)))


def _hub_place(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return the place of a data set, and the revision to ask the hub for.

    It is the folder in the hub's cache unless downloads are automatic. Raises ConfigError.
    """
    if is_automatic() or Path(name).is_dir():
        return name, revision
    folder = HubSource(repository=name, revision=revision or DEFAULT_REVISION, kind="dataset").snapshot()
    if folder is None:
        at = f"@{revision}" if revision else ""
        raise ConfigError(
            f"The data set '{name}{at}' is not in the hub's cache: run `dailies datasets get {name}{at}`, or set "
            f"{ALLOW_DOWNLOAD}=1."
        )
    return str(folder), None
