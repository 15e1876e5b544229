"""`dailies database`: back up, restore and rebuild a workspace's database."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.errors import ConfigError, StoreError
from engine.files.locks import try_lock
from engine.storage.backups import Backup, back_up, find_problem, list_backups, newest_whole, restore
from engine.storage.library import database_file
from engine.storage.rebuild import rebuild
from engine.workspace import Workspace


def build_database(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_copies, help="list the backups, newest first")
    verbs.add("backup", backup, help="make a backup now")
    restoring = verbs.add("restore", restore_copy, help="replace the database with a backup; the replaced file is kept")
    restoring.add_argument("copy", nargs="?", help="number or name of the backup (default: the newest undamaged one)")
    verbs.add("rebuild", rebuild_rows, help="add clips that have files but are not in the database")


def list_copies(options: argparse.Namespace) -> None:
    rows = [
        (copy.number, copy.reason, f"{copy.written_at:%Y-%m-%d %H:%M}", copy.size_b, find_problem(copy.path) or "whole")
        for copy in list_backups(workspace_of(options))
    ]
    if options.json:
        names = ("number", "reason", "written_at", "size_b", "state")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(("number", "made for", "written (UTC)", "bytes", "state"), rows)


def backup(options: argparse.Namespace) -> None:
    workspace = workspace_of(options)
    copy = back_up(sqlite_file(workspace), workspace, "request")
    print_result(options, {"path": str(copy.path), "number": copy.number}, f"Backup {copy.number} is {copy.path}.")


def restore_copy(options: argparse.Namespace) -> None:
    workspace = workspace_of(options)
    database = sqlite_file(workspace)
    with exclusive_access(workspace):
        chosen = choose_copy(workspace, options.copy)
        replaced = restore(database, workspace, chosen)
    kept = f" The replaced database is {replaced}." if replaced else ""
    print_result(
        options,
        {"copy": str(chosen.path), "replaced": str(replaced) if replaced else None},
        f"The database is now the backup {chosen.path.name}.{kept} `dailies database rebuild` adds clips that were "
        "made since.",
    )


def rebuild_rows(options: argparse.Namespace) -> None:
    result = rebuild(workspace_of(options))
    note = f" {len(result.damaged)} folders are damaged: {', '.join(result.damaged[:5])}." if result.damaged else ""
    facts = {"added": result.added, "damaged": list(result.damaged)}
    print_result(options, facts, f"Added {result.added} clips.{note}")


def choose_copy(workspace: Workspace, name: str | None) -> Backup:
    """Return the backup of that number or name; for None, the newest undamaged one. Raises ConfigError."""
    if name is None:
        newest, _ = newest_whole(workspace)
        if newest is None:
            raise ConfigError(
                f"There is no undamaged backup in {workspace.backups}: move the damaged database away, then "
                "`dailies database rebuild` makes a new one from the clips."
            )
        return newest
    for copy in list_backups(workspace):
        if name in (copy.path.name, str(copy.number)):
            return copy
    raise ConfigError(f"There is no backup '{name[:80]}' in {workspace.backups}: `dailies database ls` lists them.")


@contextmanager
def exclusive_access(workspace: Workspace) -> Iterator[None]:
    """Hold the locks of page and worker. Raises StoreError when one of them is running."""
    with ExitStack() as locks:
        for path, owner in ((workspace.page_lock, "page"), (workspace.worker_lock, "worker")):
            lock = try_lock(path)
            if lock is None:
                raise StoreError(f"The {owner} of {workspace.root} uses the database: stop it first, then try again.")
            locks.callback(os.close, lock)
        yield


def sqlite_file(workspace: Workspace) -> Path:
    """Return the path of the SQLite file. Raises ConfigError for PostgreSQL, which has its own tools."""
    file = database_file(workspace)
    if file is None:
        raise ConfigError("The workspace's database is on a PostgreSQL server: use its tools (pg_dump, pg_restore).")
    return file


def workspace_of(options: argparse.Namespace) -> Workspace:
    return Workspace.from_env(options.workspace).prepare()
