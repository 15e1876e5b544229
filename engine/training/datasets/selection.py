"""Selection of the files of a repository that a data set needs. Imports no torch and uses no network."""

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath

from engine.errors import ConfigError
from engine.training.datasets.archives import ARCHIVES, is_archive
from engine.training.datasets.tables import IMAGE_KINDS, TABLE_KINDS
from engine.video.reader import VIDEO_SUFFIXES

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
    "eval": ("eval", "evaluation"),
}
WORD = re.compile(r"[A-Za-z]+")
WANTED = (*TABLE_KINDS, ".txt", *VIDEO_SUFFIXES, *IMAGE_KINDS)
"""Suffixes of the files that a data set may need, outside and inside archives."""
OTHER_FILES = ("dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json", "requirements.txt")


def choose_files(name: str, paths: Iterable[str], patterns: tuple[str, ...], split: str) -> list[str]:
    """Return the needed paths of a repository.

    With `patterns`, the paths that match one. Otherwise all tables, texts, videos, pictures and archives, without those
    that only other splits have in their names. Raises ConfigError when none is left.
    """
    paths = list(paths)
    if patterns:
        chosen = [path for path in paths if any(fnmatch(path, pattern) for pattern in patterns)]
        useful = [path for path in chosen if is_useful(path)]
        if not useful:
            raise ConfigError(f"'{name}' has no file of data that matches {' or '.join(patterns)}: {_shown(paths)}.")
        return useful
    useful = [path for path in paths if is_useful(path)]
    if not useful:
        raise ConfigError(f"'{name}' has no tables, texts, videos or archives: {_shown(paths)}.")
    splits = {path: splits_in(path) for path in useful}
    chosen = [path for path in useful if not splits[path] or split in splits[path]]
    named = sorted({one for found in splits.values() for one in found})
    if named and split not in named and split != "train":
        raise ConfigError(f"'{name}' has no split '{split}', only {', '.join(named)}.")
    return chosen if any(path.endswith(TABLE_KINDS) or is_archive(path) for path in chosen) or not named else useful


def is_useful(path: str) -> bool:
    """Return whether a file may hold data."""
    file = PurePosixPath(path)
    is_hidden = any(part.startswith(".") for part in file.parts)
    return path.lower().endswith((*WANTED, *ARCHIVES)) and not is_hidden and file.name.lower() not in OTHER_FILES


def splits_in(path: str) -> set[str]:
    """Return the splits whose words the path has; names of videos and pictures do not count."""
    is_clip = path.lower().endswith((*VIDEO_SUFFIXES, *IMAGE_KINDS))
    words = {word.lower() for word in WORD.findall(str(PurePosixPath(path).parent) if is_clip else path)}
    return {split for split, names in SPLITS.items() if words & set(names)}


def _shown(paths: list[str]) -> str:
    return f"it has {', '.join(paths[:5])}" + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
