"""Folders of the declarations of external rewards.

It imports no other module of the package, so that `engine.config` can set them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

Folders = Callable[[], Sequence[Path]]


def _no_folders() -> Sequence[Path]:
    return ()


_folders: Folders = _no_folders


def use_folders(folders: Folders) -> None:
    """Set the function that returns the folders of declarations.

    A file of a later folder replaces one of the same name.
    """
    global _folders
    _folders = folders


def declaration_files() -> dict[str, Path]:
    """Return the declarations' files by key, sorted."""
    found = {file.stem: file for folder in _folders() if folder.is_dir() for file in sorted(folder.glob("*.toml"))}
    return dict(sorted(found.items()))
