"""`dailies database`: copies of a workspace's database, and what to do when it is damaged or lost."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from engine.cli.output import print_json, print_table
from engine.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from engine.storage.backups import Backup
    from engine.workspace import Workspace


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("database", help="copy, restore or rebuild the workspace's database")
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    for name, run, words in (
        ("ls", list_copies, "the copies in the backups folder, newest first"),
        ("backup", backup, "make a copy now"),
        ("restore", restore_copy, "put a copy in the database's place; what was there is kept beside it"),
        ("rebuild", rebuild_rows, "list every clip again that has its files but is not in the database"),
    ):
        verbs.add_parser(name, parents=[shared], help=words).set_defaults(run=run)
    verbs.choices["restore"].add_argument("copy", nargs="?", help="its number or name (default: the newest whole one)")


def list_copies(options: argparse.Namespace) -> None:
    from engine.storage.backups import find_problem, list_backups

    rows = [
        (one.number, one.reason, f"{one.written_at:%Y-%m-%d %H:%M}", one.size_b, find_problem(one.path) or "whole")
        for one in list_backups(workspace_of(options))
    ]
    if options.json:
        names = ("number", "reason", "written_at", "size_b", "state")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(("number", "made for", "written (UTC)", "bytes", "state"), rows)


def backup(options: argparse.Namespace) -> None:
    from engine.storage.backups import back_up

    workspace = workspace_of(options)
    made = back_up(sqlite_file(workspace), workspace, "request")
    tell(options, {"path": str(made.path), "number": made.number}, f"The copy {made.number} is {made.path}.")


def restore_copy(options: argparse.Namespace) -> None:
    from engine.storage.backups import restore

    workspace = workspace_of(options)
    database = sqlite_file(workspace)
    with nobody_else(workspace):
        chosen = choose(workspace, options.copy)
        aside = restore(database, workspace, chosen)
    kept = f" What was there is {aside}." if aside else ""
    tell(
        options,
        {"copy": str(chosen.path), "replaced": str(aside) if aside else None},
        f"The database is the copy {chosen.path.name} now.{kept} `dailies database rebuild` lists clips again "
        "that were made since.",
    )


def rebuild_rows(options: argparse.Namespace) -> None:
    from engine.storage.rebuild import rebuild

    found = rebuild(workspace_of(options))
    left = f" {len(found.damaged)} folders are not whole: {', '.join(found.damaged[:5])}." if found.damaged else ""
    tell(options, {"added": found.added, "damaged": list(found.damaged)}, f"Added {found.added} clips.{left}")


def choose(workspace: "Workspace", name: str | None) -> "Backup":
    """The copy of a number or name, else the newest whole one. Raises ConfigError."""
    from engine.storage.backups import list_backups, newest_whole

    if name is None:
        found, _ = newest_whole(workspace)
        if found is None:
            raise ConfigError(
                f"There is no whole copy in {workspace.backups}: `dailies database rebuild` makes a new database of "
                "the clips, once the damaged one is moved away."
            )
        return found
    for one in list_backups(workspace):
        if name in (one.path.name, str(one.number)):
            return one
    raise ConfigError(f"There is no copy '{name[:80]}' in {workspace.backups}: `dailies database ls` lists them.")


@contextmanager
def nobody_else(workspace: "Workspace") -> Iterator[None]:
    """Hold the locks of page and worker. Raises StoreError when one of them runs."""
    from engine.files.locks import try_lock

    with ExitStack() as held:
        for path, who in ((workspace.page_lock, "page"), (workspace.worker_lock, "worker")):
            lock = try_lock(path)
            if lock is None:
                raise StoreError(f"The {who} of {workspace.root} uses the database: stop it first, then try again.")
            held.callback(os.close, lock)
        yield


def sqlite_file(workspace: "Workspace") -> "Path":
    """Raises ConfigError for PostgreSQL, which has its own tools."""
    from engine.storage.library import database_file

    file = database_file(workspace)
    if file is None:
        raise ConfigError("The workspace's database is a server's: use its own tools (pg_dump, pg_restore).")
    return file


def workspace_of(options: argparse.Namespace) -> "Workspace":
    from engine.workspace import Workspace

    return Workspace.from_env(options.workspace).prepare()


def tell(options: argparse.Namespace, facts: dict[str, Any], sentence: str) -> None:
    if options.json:
        print_json(facts)
    else:
        print(sentence)
