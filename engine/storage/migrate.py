"""Creation and migration of a database when it is opened.

An old one is backed up first, a too new one rejected.

Alembic is imported only if a migration is necessary, which follows from the names of the revision files.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import StoreError
from engine.files.locks import locked
from engine.storage.backups import Backup, back_up
from engine.storage.database import Database
from engine.storage.schema import METADATA, VERSION_TABLE
from engine.workspace import Workspace

SCRIPTS = Path(__file__).parent / "migrations"
POSTGRES_LOCK = 0x6461696C696573  # "dailies": the key of the advisory lock under which PostgreSQL is migrated

log = logging.getLogger(__name__)


def known_revisions(scripts: Path = SCRIPTS) -> list[str]:
    """Return the revisions of this code, oldest first: the leading numbers of the files in `versions/`."""
    return sorted(path.name.split("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py"))


def upgrade_to_head(
    url: URL, workspace: Workspace, *, busy_timeout_s: float, beside_clips: bool = False, scripts: Path = SCRIPTS
) -> None:
    """Create or migrate the database's tables. Fast when nothing is to do, and safe to call concurrently.

    Raises StoreError when the database is newer than the code, is not ours, cannot be read, backed up or migrated, or
    is empty in a workspace with clips while `beside_clips` is False.
    """
    revisions = known_revisions(scripts)
    database = Database(url, busy_timeout_s=busy_timeout_s, foreign_keys=False)
    try:
        with database.reading() as connection:
            if stored_revision(connection, database.name, revisions) == revisions[-1]:
                return
        with locked(workspace.setup_lock):
            with database.reading() as connection:
                is_new = stored_revision(connection, database.name, revisions) is None
            if is_new and not beside_clips:
                _refuse_beside_clips(database, workspace)
            if database.is_sqlite:
                _set_wal(database)
            _migrate(database, workspace, revisions, scripts)
    finally:
        database.close()


def stored_revision(connection: Connection, name: str, revisions: list[str]) -> str | None:
    """Return the database's revision, None for an empty one.

    Raises StoreError for an unsupported database.
    """
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if taken := sorted(tables & set(METADATA.tables)):
            raise StoreError(
                f"The database {name} has a table {taken[0]!r} that Dailies did not create; choose another database."
            )
        return None
    stored: str | None = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    if stored is not None and stored not in revisions:
        raise StoreError(
            f"The database {name} was written by a newer Dailies (its schema is {stored}, this version supports up to "
            f"{revisions[-1]}); update Dailies or choose another workspace."
        )
    return stored


def _set_wal(database: Database) -> None:
    """Set WAL mode, a property of the file that is set once, outside of any transaction."""
    with database.unmanaged() as connection:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        log.warning("%s runs in SQLite's %s mode, not WAL: readers will wait for writers.", database.name, mode)


def _migrate(database: Database, workspace: Workspace, revisions: list[str], scripts: Path) -> None:
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": POSTGRES_LOCK})
        stored = stored_revision(connection, database.name, revisions)
        if stored == revisions[-1]:
            return
        backup = _back_up(database, workspace) if stored and database.is_sqlite else None
        try:
            _upgrade(connection, scripts)
        except SQLAlchemyError as error:
            raise StoreError(
                f"The database {database.name} could not be migrated from {stored} to {revisions[-1]} and is unchanged"
                f"{f' (a copy is {backup.path})' if backup else ''}: {str(error).splitlines()[0]}."
            ) from error
    log.info("Database %s is now at schema %s (was %s).", database.name, revisions[-1], stored or "empty")


def _upgrade(connection: Connection, scripts: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(database: Database, workspace: Workspace) -> Backup:
    """Back up an SQLite database under the write lock.

    PostgreSQL has its operators' backups and transactional DDL.
    """
    try:
        return back_up(Path(str(database.url.database)), workspace, "migration")
    except StoreError as error:
        raise StoreError(f"The database {database.name} has to be migrated, but: {error}") from error


def _refuse_beside_clips(database: Database, workspace: Workspace) -> None:
    """Raise StoreError for an empty database in a workspace with clips: the database was lost."""
    clips = sum(1 for _ in workspace.clips.glob("*/[!.]*/request.json"))
    if clips:
        raise StoreError(
            f"The database {database.name} is empty or was missing, but {workspace.clips} holds {clips} clips. "
            "`dailies database restore` restores the newest intact backup, `dailies database rebuild` creates a new "
            "database from the clips only."
        )
