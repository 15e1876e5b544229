"""Everything that a workspace holds, to compare before and after: each file's hash, and each row of the database."""

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import select

from engine.storage.library import Library
from engine.storage.schema import METADATA

# Locks, logs and the database's own files change with every look; scratch folders are asserted to be empty.
PASSING = ("worker", "jobs", "backups", "cache")


def snapshot(store: Library, *besides: Path) -> dict[str, Any]:
    """The files of the workspace and of the folders `besides`, and all rows of all tables."""
    return {"files": _files(store, besides), "rows": rows(store)}


def rows(store: Library, *leave_out: str) -> dict[str, list[dict[str, Any]]]:
    """All rows but for the columns `leave_out`."""
    found = {}
    with store.database.reading() as connection:
        for table in METADATA.sorted_tables:
            every = connection.execute(select(table).order_by(*table.primary_key)).mappings()
            found[table.name] = [{name: row[name] for name in row if name not in leave_out} for row in every]
    return found


def _files(store: Library, besides: tuple[Path, ...]) -> dict[str, str]:
    root = store.workspace.root
    paths = [path for folder in (root, *besides) for path in sorted(folder.rglob("*"))]
    kept = [path for path in paths if not _passes(path, root)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in kept}


def _passes(path: Path, root: Path) -> bool:
    if path.name.startswith("dailies.db") or path.name.endswith(".lock"):
        return True
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    is_shelf = parts[:1] == ("clips",) and len(parts) <= 2  # clips/<2> stays when its last clip goes
    return is_shelf or (parts == () and path == root) or (parts[:1] != () and parts[0] in PASSING)
