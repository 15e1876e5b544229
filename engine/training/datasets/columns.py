"""Content of a data set, by the columns of its tables. Imports no torch.

pairs      a prompt and two videos: chosen and rejected, or two neutral ones with a verdict
ratings    a prompt, a video and a label
captions   a prompt and a video
prompts    a prompt, with pictures and a negative prompt as `engine.config.prompts` reads them

Names of columns are those of `engine.labelling.pair_tables`, which reads the same tables from a local folder.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from engine.config.data_sets import DataKind
from engine.errors import ConfigError
from engine.files.tables import TABLE_READERS
from engine.files.text_files import TableRow
from engine.labelling.pair_tables import NAMES, NEUTRAL, VERDICTS

PARQUET = ".parquet"
BATCH_ROWS = 16  # rows of a Parquet file in memory at once; a row may hold a video
HEAD_ROWS = 20  # rows of a JSON file whose columns are looked at


def kind_of(columns: Collection[str]) -> DataKind | None:
    """Return what a table with these columns contains; None: nothing that can be trained on."""
    has = {side: any(name in columns for name in NAMES[side]) for side in NAMES}
    is_compared = any(left in columns and right in columns for left, right in NEUTRAL)
    if not has["prompt"]:
        return None
    if (has["chosen"] and has["rejected"]) or (is_compared and any(name in columns for name in VERDICTS)):
        return "pairs"
    if is_compared:
        return None
    if has["chosen"]:
        return "ratings" if "label" in columns else "captions"
    return "prompts"


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table. Raises ConfigError for a file that cannot be read."""
    if path.suffix == PARQUET:
        with path.open("rb") as stream:
            return footer_columns(stream)
    rows = islice((row.fields for row in TABLE_READERS[path.suffix](path).rows), HEAD_ROWS)
    return list(dict.fromkeys(name for row in rows for name in row))


def rows_of(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a table; those of Parquet in batches. Raises ConfigError."""
    if path.suffix != PARQUET:
        yield from TABLE_READERS[path.suffix](path).rows
        return
    import pyarrow
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from (TableRow(line=number, fields=row) for number, row in enumerate(rows, start=1))
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path.name} cannot be read as Parquet: {error}.") from error


def footer_columns(stream: BinaryIO) -> list[str]:
    """Return the columns of a Parquet file, or of its end alone; [] when that is too short or damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(stream).names)
    except (OSError, pyarrow.ArrowException):
        return []


def unknown_layout(name: str, tables: Mapping[str, Collection[str]], files: Collection[str] = ()) -> ConfigError:
    """Return the error of a data set without known columns: it lists the columns that were found."""
    found = "; ".join(
        f"{path}: {', '.join(map(str, columns)) or 'none'}" for path, columns in islice(tables.items(), 3)
    )
    kinds = sorted({Path(path).suffix or path for path in files})
    has = f"its columns are {found}" if found else f"it has no table, only files of {', '.join(kinds[:8]) or 'no kind'}"
    return ConfigError(
        f"'{name}' has no layout that Dailies reads ({has}): it needs a prompt (prompt, caption or text), and for "
        "training on clips a video, or two videos (chosen and rejected, or video1, video2 and preference)."
    )


def one_kind(name: str, tables: Mapping[str, Collection[str]]) -> DataKind | None:
    """Return the kind of a data set's tables, None if unknown; clips come before lists of prompts.

    Raises ConfigError for tables of several kinds of clips.
    """
    found: dict[DataKind, str] = {}
    for path, columns in tables.items():
        if kind := kind_of(columns):
            found.setdefault(kind, path)
    clips = [kind for kind in found if kind != "prompts"]
    if len(clips) > 1:
        listed = " and ".join(f"{kind} ({found[kind]})" for kind in clips)
        raise ConfigError(f"'{name}' has {listed}: choose one by --files, such as --files '{found[clips[0]]}'.")
    return clips[0] if clips else next(iter(found), None)
