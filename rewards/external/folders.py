"""Where the declarations of external rewards are. Imports nothing, so that presets can set it."""

from collections.abc import Callable, Sequence
from pathlib import Path

Folders = Callable[[], Sequence[Path]]


def _no_folders() -> Sequence[Path]:
    return ()


_folders: Folders = _no_folders


def use_folders(folders: Folders) -> None:
    """Set the function that returns the folders of declarations; a file of a later folder replaces one of its name."""
    global _folders
    _folders = folders


def declaration_files() -> dict[str, Path]:
    """Return the declarations' files by key, sorted."""
    found = {file.stem: file for folder in _folders() if folder.is_dir() for file in sorted(folder.glob("*.toml"))}
    return dict(sorted(found.items()))
