"""Selection of the files of a diffusers repository: one set of weights for each part, and small files.

A repository often holds the same weights several times (safetensors and .bin, full and half precision, single files
and shards). Uses no network.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

BASE = r"(?:diffusion_pytorch_model|model|pytorch_model)"
FORMAT = r"(?P<format>safetensors|bin)"
SINGLE = re.compile(rf"{BASE}(?:\.(?P<variant>[A-Za-z]\w*))?\.{FORMAT}")
SHARD = re.compile(rf"{BASE}(?:\.(?P<before>[A-Za-z]\w*))?-\d{{5}}-of-\d{{5}}(?:\.(?P<after>[A-Za-z]\w*))?\.{FORMAT}")
INDEX = re.compile(rf"{BASE}\.{FORMAT}\.index(?:\.(?P<variant>[A-Za-z]\w*))?\.json")
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
ROOT = "."
CONFIG = "config.json"
ReadIndex = Callable[[str], Mapping[str, object]]
"""Returns the JSON object of a file of the repository, by its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The files that a model needs of one repository.

    `parts` are folders ("." is the repository itself, as one network), `optional` are folders that only some models of
    the family have, and `files` are single files. `variant` is the preferred variant of weights, such as "fp16".
    """

    parts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class WeightSet:
    """A stored form of a network's weights: variant ("" is the plain one), format, single or in shards."""

    variant: str
    format: str
    is_sharded: bool


def select_files(paths: Iterable[str], needs: Needs, read_index: ReadIndex) -> list[str]:
    """Return the paths of a repository's listing that are needed, small files first.

    The preferred variant is chosen before plain weights, these before other variants, and safetensors before .bin.
    """
    paths = list(paths)
    chosen = [path for path in needs.files if path in paths]
    for part in (*needs.parts, *needs.optional):
        prefix = "" if part == ROOT else f"{part}/"
        names = [path[len(prefix) :] for path in paths if path.startswith(prefix) and "/" not in path[len(prefix) :]]
        chosen += [prefix + name for name in _part_files(names, needs.variant, _at(prefix, read_index))]
    return sorted(dict.fromkeys(chosen), key=lambda path: (not path.endswith(SMALL), chosen.index(path)))


def _at(prefix: str, read_index: ReadIndex) -> ReadIndex:
    return lambda name: read_index(prefix + name)


def missing_files(folder: Path, needs: Needs) -> list[str]:
    """Return the needed files and parts that a model folder lacks, with every shard of its weights."""
    missing = [name for name in needs.files if not (folder / name).is_file()]
    listed = _listed_parts(folder)
    for part in (*needs.parts, *(part for part in needs.optional if part in listed)):
        missing += [f"{part}/{name}" if name else part for name in _missing_of(folder / part)]
    return missing


def weight_sets(names: Collection[str]) -> list[WeightSet]:
    """Return the forms of weights that the file names of one folder contain."""
    found: dict[WeightSet, None] = {}
    for name in names:
        if match := SINGLE.fullmatch(name):
            found[WeightSet(match["variant"] or "", match["format"], False)] = None
        elif match := SHARD.fullmatch(name):
            found[WeightSet(match["before"] or match["after"] or "", match["format"], True)] = None
    return list(found)


def _part_files(names: list[str], variant: str | None, read_index: ReadIndex) -> list[str]:
    small = [name for name in names if name.endswith(SMALL) and not INDEX.fullmatch(name)]
    sets = weight_sets(names)
    if not sets:
        return small
    best = min(sets, key=lambda one: _preference(one, variant))
    return small + _weight_files(best, names, read_index)


def _preference(one: WeightSet, variant: str | None) -> tuple[object, ...]:
    is_wanted = bool(variant) and one.variant == variant and one.format == "safetensors"
    return (not is_wanted, one.format != "safetensors", bool(one.variant), one.is_sharded, one.variant)


def _weight_files(one: WeightSet, names: list[str], read_index: ReadIndex) -> list[str]:
    """Return the files of a set: the single file, or the index and the shards that it lists."""
    if not one.is_sharded:
        return [
            name
            for name in names
            if (match := SINGLE.fullmatch(name)) and (match["variant"] or "", match["format"]) == _form(one)
        ]
    indexes = [
        name
        for name in names
        if (match := INDEX.fullmatch(name)) and (match["variant"] or "", match["format"]) == _form(one)
    ]
    if indexes:
        table = read_index(indexes[0]).get("weight_map")
        return [indexes[0], *sorted({str(name) for name in table.values()} if isinstance(table, Mapping) else ())]
    return [
        name
        for name in names
        if (match := SHARD.fullmatch(name)) and (match["before"] or match["after"] or "", match["format"]) == _form(one)
    ]


def _form(one: WeightSet) -> tuple[str, str]:
    return one.variant, one.format


def _missing_of(folder: Path) -> list[str]:
    """Return what a part's folder lacks; [""] for a folder that is missing or empty."""
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    sets = weight_sets(names)
    if not names:
        return [""]
    if not sets:
        return ["weights"] if CONFIG in names else []
    lacking = [_lacking(one, folder, names) for one in sets]
    problems = [] if CONFIG in names else [CONFIG]
    return problems + min(lacking, key=len)


def _lacking(one: WeightSet, folder: Path, names: list[str]) -> list[str]:
    """Return the files of a set that are not in the folder."""
    if one.is_sharded and not any(
        (match := INDEX.fullmatch(name)) and (match["variant"] or "", match["format"]) == _form(one) for name in names
    ):
        return ["the index of its shards"]
    files = _weight_files(one, names, lambda name: read_object(folder / name))
    is_damaged = one.is_sharded and all(INDEX.fullmatch(name) for name in files)
    return ["weights"] if is_damaged else [name for name in files if name not in names]


def _listed_parts(folder: Path) -> set[str]:
    """Return the parts that the folder's model_index.json has."""
    index = read_object(folder / "model_index.json")
    return {part for part, entry in index.items() if isinstance(entry, list) and any(entry)}


def read_object(path: Path) -> Mapping[str, object]:
    """Return the JSON object of a file; empty for a missing or damaged one."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
