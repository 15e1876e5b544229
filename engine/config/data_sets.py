"""Data sets of the workspace by name. Imports no torch.

`dailies datasets get` makes the folder datasets/<name>/ of a workspace, with one table of a kind. `find_clips` and
`engine.config.prompts.find_prompts` find the table, so that the name is enough in a preset.
"""

import re
from pathlib import Path
from typing import Literal

from engine.workspace import Workspace, is_name

DataKind = Literal["pairs", "captions", "ratings", "prompts"]
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def table_of(workspace: Workspace, name: str, kind: DataKind) -> Path:
    """Return the table of a data set, which may not exist."""
    return workspace.data_sets / name / f"{kind}.jsonl"


def find_data_set(name: str, kinds: tuple[DataKind, ...]) -> Path | None:
    """Return the table of the workspace's data set, if it is of one of the kinds."""
    if not (NAME.fullmatch(name) and is_name(name)):
        return None
    tables = (table_of(Workspace.from_env(), name, kind) for kind in kinds)
    return next((table for table in tables if table.is_file()), None)


def find_clips(name: str) -> Path:
    """Return the path that `pairs` name: an existing one, a data set's, or one that does not exist."""
    try:
        if Path(name).exists():
            return Path(name)
    except OSError:  # such as a name that is too long
        return Path(name)
    return find_data_set(name, ("pairs", "captions", "ratings")) or Path(name)
