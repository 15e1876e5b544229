"""Export and import of preference pairs, in the layouts of other tools.

huggingface   data/train-00000-of-00001.parquet with prompt, chosen, rejected, ...; clips/; a README.md
trl           pairs.jsonl with TRL's columns prompt, chosen, rejected; clips/
videodpo      metadata.json (clips), pair.json (winner and loser by their index in metadata.json); clips/;
              read by `engine.labelling.preference_formats`, which also reads VideoDPO's other layout

Clips are the exact frames (FFV1 in Matroska, readable by ffmpeg and tools based on it). Import accepts any table with
prompt, chosen and rejected (Parquet, JSON, JSON Lines, CSV), with clip paths relative to the folder.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from engine.errors import ConfigError, DailiesError, StoreError
from engine.files.atomic import write_text_atomic
from engine.files.tables import TABLE_READERS
from engine.labelling.pair_tables import SIDES, PairLine, lines_text, pair_line, write_pairs
from engine.labelling.preference_formats import PairRow, is_videodpo, read_rows
from engine.labelling.preference_pairs import PreferencePair
from engine.storage.clip_files import frames_file, has_files
from engine.storage.library import ClipRecord, Library
from engine.storage.video_import import clips_kept, read_record
from engine.workspace import Workspace
from rewards.clip import Clip

Layout = Literal["huggingface", "trl", "videodpo"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
TABLES = tuple(kind for kind in TABLE_READERS if kind != ".json")
"""Suffixes read as tables in a folder. A .json file in a folder may be anything."""
CLIPS = "clips"
PARQUET = "data/train-00000-of-00001.parquet"
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {parquet}
---

# {title}

{count} pairs of video clips, each of one prompt, with the `chosen` clip preferred to the `rejected` one. Both are paths
from this folder; `margin` (0 to 1) is the strength of the preference, `votes` the number of votes, and `source` the
origin of the preference: human, reward or dataset. Made with Dailies.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPairs:
    """Result of an import.

    `file` is a JSON Lines file that a DPO run accepts as its `pairs`. `skipped` has one sentence per unusable row.
    """

    file: Path
    pairs: int
    skipped: tuple[str, ...]


def export_pairs(
    store: Library, pairs: Sequence[PreferencePair], folder: Path, layout: Layout, title: str
) -> list[str]:
    """Write pairs and their clips into a new folder.

    Returns one sentence per pair that was left out because a clip of it is missing. Raises ConfigError when the folder
    is not empty or no pair is left, StoreError when it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"The folder {folder} is not empty: choose a new one.")
    usable = [pair for pair in pairs if all(has_files(store.workspace, clip) for clip in (pair.chosen, pair.rejected))]
    if not usable:
        raise ConfigError("There is no pair to export: no vote prefers a clip yet, or the clips are missing.")
    try:
        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        for clip in dict.fromkeys(clip for pair in usable for clip in (pair.chosen, pair.rejected)):
            shutil.copyfile(frames_file(store.workspace, clip), folder / _path_of(clip))
        WRITERS[layout](store, usable, folder, title)
    except OSError as error:
        raise StoreError(f"The pairs cannot be written to {folder}: {error.strerror or error}.") from error
    written = {pair.pair_id for pair in usable}
    left_out = [pair.pair_id for pair in pairs if pair.pair_id not in written]
    return [f"The pair {pair_id} was left out: a clip of it is missing." for pair_id in left_out]


def import_pairs(store: Library, folder: Path, name: str) -> ImportedPairs:
    """Import pairs from a folder of any layout above or from a table.

    Clips are added to the library, and pairs are written to a file, all or nothing.

    Raises ConfigError for an unknown layout, a bad name or one in use, or when no pair is usable.
    """
    target = pairs_file(store.workspace, name)
    if target.exists():
        raise ConfigError(f"Pairs named '{name}' exist already: choose another name.")
    if not folder.exists():
        raise ConfigError(f"The folder or file {folder} does not exist.")
    rows, skipped = [], []
    items = list(_read(folder))  # all at once: a later table that cannot be read rejects the whole import
    with ExitStack() as undo:
        with clips_kept(store) as keep:
            for item in items:
                try:
                    row = _read_row(item)
                except DailiesError as error:
                    skipped.append(f"{item.place[:1].upper()}{item.place[1:]}: {error}")
                    continue
                for record, clip in row.clips:
                    keep(record, clip)
                rows.append(row.line(target, store.workspace))
            if not rows:
                why = f" The first was skipped: {skipped[0]}" if skipped else ""
                raise ConfigError(f"{folder} has no usable pair.{why}")
            _write_new(target, lines_text(rows))
            undo.callback(target.unlink, missing_ok=True)  # when the clips cannot be recorded
        undo.pop_all()
    return ImportedPairs(file=target, pairs=len(rows), skipped=tuple(skipped))


def _write_new(target: Path, text: str) -> None:
    """Write a new file atomically.

    Raises ConfigError when it exists, StoreError when it cannot be written.
    """
    try:
        write_text_atomic(target, text, new=True)
    except FileExistsError as error:
        raise ConfigError(f"Pairs named '{target.stem}' exist already: choose another name.") from error
    except OSError as error:
        raise StoreError(f"The pairs cannot be written to {target}: {error.strerror or error}.") from error


def pairs_file(workspace: Workspace, name: str) -> Path:
    """Return the file of imported pairs of a name. Raises ConfigError for an invalid name."""
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"The name of imported pairs is a plain word, but got {name[:40]!r}.")
    return workspace.pairs / f"{name}.jsonl"


def _path_of(clip_id: str) -> str:
    return f"{CLIPS}/{clip_id}.mkv"


def _lines(pairs: Sequence[PreferencePair]) -> list[PairLine]:
    return [pair_line(pair, _path_of) for pair in pairs]


def _write_huggingface(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    import pyarrow
    from pyarrow import parquet

    (folder / PARQUET).parent.mkdir(exist_ok=True)
    rows = [line.fields() for line in _lines(pairs)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / PARQUET)
    card = CARD.format(parquet=PARQUET, title=" ".join(title.split()), count=len(pairs))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _write_trl(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    write_pairs(folder, _lines(pairs))


def _write_videodpo(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    clips = list(dict.fromkeys(clip for pair in pairs for clip in (pair.chosen, pair.rejected)))
    records = {clip: store.clip(clip) for clip in clips}
    index = {clip: number for number, clip in enumerate(clips)}
    metadata = [{"basic": {"clip_path": _path_of(clip), "clip_duration": _seconds(records[clip])}} for clip in clips]
    entries = [
        {"video1": index[pair.chosen], "video2": index[pair.rejected], "frame_caption": pair.prompt} for pair in pairs
    ]
    for name, content in (("metadata.json", metadata), ("pair.json", entries)):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


WRITERS: Mapping[Layout, Callable[[Library, Sequence[PreferencePair], Path, str], None]] = {
    "huggingface": _write_huggingface,
    "trl": _write_trl,
    "videodpo": _write_videodpo,
}


def _seconds(record: ClipRecord) -> float:
    return record.num_frames / record.fps


def _read(source: Path) -> Iterator[PairRow]:
    """Yield the rows of a folder or a table. Raises ConfigError for an unknown layout."""
    if source.is_file() or is_videodpo(source):
        yield from read_rows(source)
        return
    tables = [path for kind in TABLES for path in sorted(source.rglob(f"*{kind}")) if path.is_file()]
    if not tables:
        raise ConfigError(
            f"{source} is in no known layout: it needs pair.json and metadata.json (VideoDPO), or a table "
            f"({', '.join(TABLES)}) with prompt, chosen and rejected."
        )
    for path in tables:
        yield from (replace(row, folder=source) for row in read_rows(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row with usable clips, the chosen one first."""

    prompt: str
    clips: tuple[tuple[ClipRecord, Clip], tuple[ClipRecord, Clip]]
    numbers: dict[str, float]

    def line(self, target: Path, workspace: Workspace) -> PairLine:
        """Return the row of the pairs file `target`."""
        (chosen, _), (rejected, _) = self.clips
        sides = {"chosen": _from(target, workspace, chosen), "rejected": _from(target, workspace, rejected)}
        ids = {"chosen_clip": chosen.id, "rejected_clip": rejected.id}
        return PairLine(**{"prompt": self.prompt, **sides, "margin": 1.0, **self.numbers, "source": "dataset", **ids})


def _read_row(item: PairRow) -> _Row:
    """Read a row's clips without storing them.

    Raises DailiesError with the reason when the row is unusable.
    """
    if item.pair is None:
        raise ConfigError(item.problem)
    row, prompt = item.pair, str(item.pair["prompt"])
    chosen, rejected = (_read_clip(item.clip(side), prompt, item.folder) for side in SIDES)
    if chosen[0].id == rejected[0].id:
        raise ConfigError("the chosen and the rejected clip are the same.")
    shapes = [(clip.num_frames, clip.width, clip.height) for clip, _ in (chosen, rejected)]
    if shapes[0] != shapes[1]:
        raise ConfigError(f"its clips differ in frames and size: {shapes[0]} and {shapes[1]}.")
    numbers: dict[str, float] = {name: row[name] for name in ("margin", "score") if name in row}
    votes = str(row.get("votes", ""))
    count = {"votes": int(votes)} if votes.isascii() and votes.isdigit() and len(votes) < 10 else {}
    return _Row(prompt=prompt, clips=(chosen, rejected), numbers=numbers | count)


def _read_clip(named: Path, prompt: str, folder: Path) -> tuple[ClipRecord, Clip]:
    """Read a row's clip, which must be inside the folder: nothing is said about files outside."""
    missing = f"there is no clip {_shown(named, folder)!r} in the folder."
    try:
        path = named.resolve()
        is_there = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise ConfigError(missing) from error
    if not is_there:
        raise ConfigError(missing)
    return read_record(path, prompt)


def _shown(named: Path, folder: Path) -> str:
    """Return the clip's path as in the table, shortened for a message."""
    return str(named.relative_to(folder) if named.is_relative_to(folder) else named)[:80]


def _from(target: Path, workspace: Workspace, clip: ClipRecord) -> str:
    """Return a clip's path relative to the pairs file, so that a workspace can be moved as a whole."""
    up = len(target.parent.relative_to(workspace.root).parts)
    inside = frames_file(workspace, clip.id).relative_to(workspace.root)
    return "/".join([*[".."] * up, *inside.parts])
