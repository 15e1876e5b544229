"""Backups of a workspace's SQLite database: made during use, checked for damage, and rotated.

`backups/dailies-<number>-<reason>-<schema>-<UTC time>.db`. The number counts up and defines the order; the time in the
name is informative only, since a clock can be set back. PostgreSQL's operators have their own backups.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from engine.errors import StoreDamaged, StoreError
from engine.files.atomic import fsync_path
from engine.files.locks import locked
from engine.storage.database_errors import remedy
from engine.storage.schema import VERSION_TABLE
from engine.workspace import Workspace

Reason = Literal["start", "daily", "migration", "request"]
KEPT: Mapping[Reason, int] = {"start": 5, "daily": 7, "migration": 3, "request": 5}
NAME = re.compile(r"dailies-(\d{6,})-(start|daily|migration|request)-(\w+)-([0-9TZ]+)\.db")
DAY = timedelta(days=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One backup; the newest has the highest `number`."""

    path: Path
    number: int
    reason: Reason

    @property
    def size_b(self) -> int:
        return self.path.stat().st_size

    @property
    def written_at(self) -> datetime:
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)


def list_backups(workspace: Workspace) -> list[Backup]:
    """Return the backups of a workspace, the newest first."""
    backups = []
    for path in workspace.backups.iterdir() if workspace.backups.is_dir() else ():
        if match := NAME.fullmatch(path.name):
            backups.append(Backup(path=path, number=int(match[1]), reason=match[2]))  # type: ignore[arg-type]
    return sorted(backups, key=lambda backup: backup.number, reverse=True)


def back_up(database: Path, workspace: Workspace, reason: Reason) -> Backup:
    """Copy a database and check the copy, then rotate older backups made for the same reason.

    Raises StoreError when the copy cannot be written, and StoreDamaged when the database is damaged; no other backup is
    then touched.
    """
    workspace.prepare()
    with locked(workspace.backups_lock):
        for partial in workspace.backups.glob("*.partial*"):  # of a process that was killed
            partial.unlink(missing_ok=True)
        older = list_backups(workspace)
        backup = _copy(database, workspace, reason, 1 + max((old.number for old in older), default=0))
        _rotate([backup, *older], reason)
    log.info("Copied the database to %s.", backup.path)
    return backup


def back_up_daily(database: Path, workspace: Workspace) -> Backup | None:
    """Back up unless the newest backup is less than a day old.

    A modification time in the future counts as old.
    """
    newest = next(iter(list_backups(workspace)), None)
    if newest is not None and timedelta(0) <= datetime.now(UTC) - newest.written_at < DAY:
        return None
    return back_up(database, workspace, "daily")


def find_problem(database: Path) -> str:
    """Return SQLite's description of damage in a database file that is not in use.

    "" for an intact one of Dailies.
    """
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            result = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if result != "ok":
                return " ".join(result.split())
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error as error:
        return str(error)
    return "" if (VERSION_TABLE,) in tables else "it has no tables of Dailies"


def newest_whole(workspace: Workspace) -> tuple[Backup | None, Sequence[Backup]]:
    """Return the newest intact backup, and the damaged ones that are newer."""
    damaged: list[Backup] = []
    for backup in list_backups(workspace):
        if not find_problem(backup.path):
            return backup, damaged
        damaged.append(backup)
    return None, damaged


def restore(database: Path, workspace: Workspace, backup: Backup) -> Path | None:
    """Replace the database by a backup, and return the new path of the replaced files.

    None if there were none.

    The caller ensures that the database is not in use. Raises StoreError when the backup is damaged or cannot be
    copied; the database is then unchanged.
    """
    if problem := find_problem(backup.path):
        raise StoreError(f"The copy {backup.path} is damaged ({problem}): choose another one.")
    incoming = database.with_name(f"{database.name}.restored.partial")
    aside = _free_name(database)
    try:
        incoming.write_bytes(backup.path.read_bytes())
        fsync_path(incoming)
        moved = [_move_aside(database, aside, ending) for ending in ("-wal", "-shm", "")]
        os.replace(incoming, database)
        fsync_path(database.parent)
    except OSError as error:
        with suppress(OSError):
            incoming.unlink()
        raise StoreError(
            f"The copy {backup.path} could not replace {database}: {error.strerror or error}. Free some space and try "
            f"again; the previous database is {aside if aside.exists() else database}."
        ) from error
    return aside if any(moved) else None


def _copy(database: Path, workspace: Workspace, reason: Reason, number: int) -> Backup:
    partial = workspace.backups / f"dailies-{number:06}.partial"
    try:
        # Opened by its path, never as a URI: SQLite would read `?`, `#` and `%` of the path as parts of it.
        with closing(sqlite3.connect(str(database))) as source, closing(sqlite3.connect(str(partial))) as copy:
            source.backup(copy)
        if problem := find_problem(partial):
            raise StoreDamaged(
                f"The database {database} is damaged ({problem}), so it was not backed up and older copies stay: "
                "`dailies database restore` puts the newest whole copy in its place."
            )
        path = workspace.backups / f"dailies-{number:06}-{reason}-{_schema(partial)}-{_stamp()}.db"
        fsync_path(partial)
        os.replace(partial, path)
        fsync_path(path.parent)
    except sqlite3.Error as error:
        is_damaged = str(error.sqlite_errorname).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
        kind = StoreDamaged if is_damaged else StoreError
        raise kind(f"The database {database} could not be copied to {workspace.backups}: {remedy(error)}.") from error
    except OSError as error:
        raise StoreError(
            f"The database {database} could not be copied to {workspace.backups}: {error.strerror or error}. Free some "
            "space there."
        ) from error
    finally:
        for path_left in workspace.backups.glob(f"{partial.name}*"):
            path_left.unlink(missing_ok=True)
    return Backup(path=path, number=number, reason=reason)


def _rotate(backups: Sequence[Backup], reason: Reason) -> None:
    """Remove the oldest backups made for this reason; `backups` begins with the new one."""
    for old in [backup for backup in backups if backup.reason == reason][KEPT[reason] :]:
        with suppress(OSError):
            old.path.unlink()


def _schema(database: Path) -> str:
    with closing(sqlite3.connect(str(database))) as connection:
        (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone() or ("none",)
    return str(revision)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _free_name(database: Path) -> Path:
    """Return the path for a replaced database: its name with the first free number."""
    number = 1
    while (path := database.with_name(f"{database.name}.replaced-{number}")).exists():
        number += 1
    return path


def _move_aside(database: Path, aside: Path, ending: str) -> bool:
    """Rename one file of a database (its log, its index, itself); return False when it does not exist."""
    path = database.with_name(database.name + ending)
    if not path.exists():
        return False
    os.replace(path, aside.with_name(aside.name + ending))
    return True
