"""Preference pairs out of this installation, and in from elsewhere, in the layouts that others read and write.

huggingface   data/train-00000-of-00001.parquet with prompt, chosen, rejected, ...; clips/ beside it; a README.md
trl           pairs.jsonl with TRL's columns prompt, chosen, rejected; clips/ beside it
videodpo      metadata.json (clips), pair.json (winner, loser by their place in metadata.json); clips/ beside them;
              read by `engine.labelling.preference_formats`, whose other layout is taken too

Clips are the exact frames (FFV1 in Matroska, which ffmpeg and what is built on it read). On import any table with
prompt, chosen and rejected will do (parquet, JSON, JSON Lines, CSV), its clips named by their path from the folder.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from engine.errors import ConfigError, DailiesError, StoreError
from engine.files.atomic import write_text_atomic
from engine.labelling.pair_tables import SIDES
from engine.labelling.preference_formats import READERS, FoundPair, find_pairs, is_videodpo
from engine.labelling.preference_pairs import PreferencePair
from engine.storage.clip_files import frames_file, has_files
from engine.storage.library import ClipRecord, Library
from engine.storage.video_import import clips_kept, read_record
from engine.workspace import Workspace
from rewards.clip import Clip

Layout = Literal["huggingface", "trl", "videodpo"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
TABLES = tuple(kind for kind in READERS if kind != ".json")
"""What is taken for a table when it lies in a folder; a .json there may be anything."""
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

{count} pairs of video clips of one prompt each, the `chosen` one preferred to the `rejected` one. Both are paths from
this folder; `margin` (0 to 1) is how clearly it was preferred, `votes` how many people said so, `source` who: human,
reward or dataset. Made with Dailies.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPairs:
    """What an import brought: `file` is a JSON Lines file that a DPO run takes as its `pairs`; `skipped` one sentence a
    row that could not be used."""

    file: Path
    pairs: int
    skipped: tuple[str, ...]


def export_pairs(
    store: Library, pairs: Sequence[PreferencePair], folder: Path, layout: Layout, title: str
) -> list[str]:
    """Write pairs and their clips into a new folder; a sentence for each pair that was left out, its clip being gone.

    Raises ConfigError when the folder is not empty or no pair is left, StoreError when it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"The folder {folder} is not empty: choose a new one.")
    there = [pair for pair in pairs if all(has_files(store.workspace, clip) for clip in (pair.chosen, pair.rejected))]
    if not there:
        raise ConfigError("There is no pair to export: nobody has preferred a clip yet, or the clips are gone.")
    try:
        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        for clip in dict.fromkeys(clip for pair in there for clip in (pair.chosen, pair.rejected)):
            shutil.copyfile(frames_file(store.workspace, clip), folder / _path_of(clip))
        WRITERS[layout](store, there, folder, title)
    except OSError as error:
        raise StoreError(f"The pairs cannot be written to {folder}: {error.strerror or error}.") from error
    return [f"The pair {pair.pair_id} was left out: a clip of it is gone." for pair in pairs if pair not in there]


def import_pairs(store: Library, folder: Path, name: str) -> ImportedPairs:
    """Bring in pairs from a folder of any layout above, or a table's file: clips into the library, pairs as a file.

    Raises ConfigError: no such layout, a name that is taken or no name, no usable pair.
    """
    target = pairs_file(store.workspace, name)
    if target.exists():
        raise ConfigError(f"There are pairs '{name}' already: choose another name.")
    if not folder.exists():
        raise ConfigError(f"There is no folder or file {folder} to import.")
    rows, skipped = [], []
    given = list(_read(folder))  # all of it: a later table that cannot be read refuses the whole import
    with clips_kept(store) as keep:
        for found in given:
            try:
                row = _read_row(found)
            except DailiesError as error:
                skipped.append(f"{found.place[:1].upper()}{found.place[1:]}: {error}")
                continue
            for record, clip in row.clips:
                keep(record, clip)
            rows.append(row.line(target, store.workspace))
        if not rows:
            why = f" The first was skipped: {skipped[0]}" if skipped else ""
            raise ConfigError(f"{folder} has no pair that can be used.{why}")
        _write_new(target, _lines(rows))
    return ImportedPairs(file=target, pairs=len(rows), skipped=tuple(skipped))


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_new(target: Path, text: str) -> None:
    """Write a file whole. Raises ConfigError when there is one of this name, StoreError when it cannot be written."""
    try:
        write_text_atomic(target, text, new=True)
    except FileExistsError as error:
        raise ConfigError(f"There are pairs '{target.stem}' already: choose another name.") from error
    except OSError as error:
        raise StoreError(f"The pairs cannot be written to {target}: {error.strerror or error}.") from error


def pairs_file(workspace: Workspace, name: str) -> Path:
    """Where imported pairs of a name lie. Raises ConfigError for what is no name."""
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"The name of imported pairs is a plain word, but got {name[:40]!r}.")
    return workspace.pairs / f"{name}.jsonl"


def _path_of(clip_id: str) -> str:
    return f"{CLIPS}/{clip_id}.mkv"


def _rows(pairs: Sequence[PreferencePair]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": pair.prompt,
            "chosen": _path_of(pair.chosen),
            "rejected": _path_of(pair.rejected),
            "margin": pair.margin,
            "votes": pair.votes,
            "source": pair.source,
            "pair_id": pair.pair_id,
        }
        for pair in pairs
    ]


def _write_huggingface(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    import pyarrow
    from pyarrow import parquet

    (folder / PARQUET).parent.mkdir(exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(_rows(pairs)), folder / PARQUET)
    card = CARD.format(parquet=PARQUET, title=" ".join(title.split()), count=len(pairs))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _write_trl(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(pairs))
    (folder / "pairs.jsonl").write_text(lines, encoding="utf-8")


def _write_videodpo(store: Library, pairs: Sequence[PreferencePair], folder: Path, title: str) -> None:
    clips = list(dict.fromkeys(clip for pair in pairs for clip in (pair.chosen, pair.rejected)))
    records = {clip: store.clip(clip) for clip in clips}
    place = {clip: number for number, clip in enumerate(clips)}
    metadata = [{"basic": {"clip_path": _path_of(clip), "clip_duration": _seconds(records[clip])}} for clip in clips]
    listed = [
        {"video1": place[pair.chosen], "video2": place[pair.rejected], "frame_caption": pair.prompt} for pair in pairs
    ]
    for name, content in (("metadata.json", metadata), ("pair.json", listed)):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


WRITERS: Mapping[Layout, Callable[[Library, Sequence[PreferencePair], Path, str], None]] = {
    "huggingface": _write_huggingface,
    "trl": _write_trl,
    "videodpo": _write_videodpo,
}


def _seconds(record: ClipRecord) -> float:
    return record.num_frames / record.fps


def _read(place: Path) -> Iterator[FoundPair]:
    """The rows of a folder or a table. Raises ConfigError when there is nothing that is known."""
    if place.is_file() or is_videodpo(place):
        yield from find_pairs(place)
        return
    tables = [path for kind in TABLES for path in sorted(place.rglob(f"*{kind}")) if path.is_file()]
    if not tables:
        raise ConfigError(
            f"{place} is in no layout that is known: it needs pair.json and metadata.json (VideoDPO), or a table "
            f"({', '.join(TABLES)}) with prompt, chosen and rejected."
        )
    for path in tables:
        yield from (replace(found, folder=place) for found in find_pairs(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row whose clips can be used, the chosen one first."""

    prompt: str
    clips: tuple[tuple[ClipRecord, Clip], tuple[ClipRecord, Clip]]
    numbers: dict[str, float]

    def line(self, target: Path, workspace: Workspace) -> dict[str, Any]:
        """As the pairs file `target` has it."""
        (chosen, _), (rejected, _) = self.clips
        sides = {"chosen": _from(target, workspace, chosen), "rejected": _from(target, workspace, rejected)}
        ids = {"chosen_clip": chosen.id, "rejected_clip": rejected.id}
        return {"prompt": self.prompt, **sides, "margin": 1.0, **self.numbers, "source": "dataset", **ids}


def _read_row(found: FoundPair) -> _Row:
    """Read a row's clips, and keep nothing. Raises a DailiesError that says why it cannot be used."""
    if found.pair is None:
        raise ConfigError(found.problem)
    row, prompt = found.pair, str(found.pair["prompt"])
    chosen, rejected = (_read_clip(found.clip(side), prompt, found.folder) for side in SIDES)
    if chosen[0].id == rejected[0].id:
        raise ConfigError("the chosen and the rejected clip are the same.")
    shapes = [(clip.num_frames, clip.width, clip.height) for clip, _ in (chosen, rejected)]
    if shapes[0] != shapes[1]:
        raise ConfigError(f"its clips differ in frames and size: {shapes[0]} and {shapes[1]}.")
    numbers: dict[str, float] = {name: row[name] for name in ("margin", "score") if name in row}
    votes = str(row.get("votes", ""))
    counted = {"votes": int(votes)} if votes.isascii() and votes.isdigit() and len(votes) < 10 else {}
    return _Row(prompt=prompt, clips=(chosen, rejected), numbers=numbers | counted)


def _read_clip(said: Path, prompt: str, folder: Path) -> tuple[ClipRecord, Clip]:
    """A row's clip, which may not lie outside of the folder."""
    try:
        path = said.resolve(strict=True)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no clip {_within(said, folder)!r} in the folder.") from error
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise ConfigError(f"the clip {_within(said, folder)!r} cannot be read: {error}.") from error
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"the clip {_within(said, folder)!r} is not in the folder.")
    if not path.is_file():
        raise ConfigError(f"there is no clip {_within(said, folder)!r} in the folder.")
    return read_record(path, prompt)


def _within(said: Path, folder: Path) -> str:
    """The clip as the table names it, shortened."""
    return str(said.relative_to(folder) if said.is_relative_to(folder) else said)[:80]


def _from(target: Path, workspace: Workspace, clip: ClipRecord) -> str:
    """The path of a clip's frames from the pairs file, so that a workspace may be moved as a whole."""
    up = len(target.parent.relative_to(workspace.root).parts)
    inside = frames_file(workspace, clip.id).relative_to(workspace.root)
    return "/".join([*[".."] * up, *inside.parts])
