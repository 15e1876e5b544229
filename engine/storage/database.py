"""`Database`: SQLite or PostgreSQL by URL, with transactions whose errors are one sentence.

SQLite runs in WAL mode: readers never wait, and a writer takes the write lock when its transaction begins (BEGIN
IMMEDIATE), so that it waits there instead of failing in the middle. WAL needs a local disk, not NFS.
"""

import json
import math
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.errors import ConfigError, StoreUnavailable
from engine.storage.database_errors import remedy
from engine.storage.write_turns import NoTurn, Turns

BUSY_TIMEOUT_S = 10.0
INSERTS: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
SQLITE_PATH_LIMIT = 504  # bytes: SQLite's own 512 with room for "-journal"
WRITERS = 16  # concurrent writers of one process on PostgreSQL, which leaves connections for readers
IN_LIMIT = 500  # values of one SQL "IN": stock SQLite allows 32,766 parameters in a statement, PostgreSQL 65,535
# PostgreSQL allows no NUL in a text, and UTF-8 no lone surrogate: both are rejected on every database.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Database:
    """One database by URL. Safe to use from many threads; each process needs its own `Database`."""

    def __init__(self, url: str | URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S, foreign_keys: bool = True) -> None:
        """Open the database.

        `foreign_keys=False` is for migrations: SQLite copies tables, which must not cascade.
        """
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self.url.render_as_string(hide_password=True)
        self._engine = open_engine(self.url, busy_timeout_s, foreign_keys)
        # PostgreSQL's default, READ COMMITTED, shows each statement of a transaction another state
        reading = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reader = self._engine.execution_options(**reading)
        self._turns = Turns(1 if self.is_sqlite else WRITERS, busy_timeout_s)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads a consistent state of the database."""
        with self._convert_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open an atomic transaction for writing. On SQLite it is on the disk when the block ends.

        Raises StoreUnavailable after the timeout for its turn, see `engine.storage.write_turns`.
        """
        # SQLite waits by polling, and the first to poll gets the lock: among twenty writers one can wait for seconds.
        # The threads of a process queue here instead.
        with self._convert_errors(), self._turns.turn() as patience_s:
            writer = self._engine.execution_options(begin="IMMEDIATE", busy_timeout_ms=round(1000 * patience_s))
            with writer.begin() as connection:
                yield connection

    @contextmanager
    def unmanaged(self) -> Iterator[sqlite3.Connection]:
        """Open SQLite's own connection without a transaction, for statements that cannot run in one."""
        with self._convert_errors(), closing(self._engine.raw_connection()) as connection:
            yield connection.driver_connection  # type: ignore[misc]

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert failures of the database to StoreUnavailable, and unstorable data to ConfigError."""

        try:
            yield
        except (DataError, OverflowError) as error:
            raise ConfigError(f"The database cannot store this: {remedy(error)}.") from error
        except StatementError as error:
            if isinstance(error.orig, ConfigError):
                raise error.orig from error
            if not isinstance(error, DBAPIError):  # a value that cannot even be sent, such as NaN in JSON
                raise ConfigError(f"The database cannot store this: {remedy(error)}.") from error
            raise StoreUnavailable(f"The database {self.name} failed: {remedy(error)}.") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The database {self.name} failed: {remedy(error)}.") from error
        except (NoTurn, PoolTimeout) as error:
            raise StoreUnavailable(f"The database {self.name} is busy: too many wait for it; try again.") from error


def parse_url(url: str | URL) -> URL:
    """Parse a database URL; a bare postgresql:// gets the driver that Dailies installs.

    Raises ConfigError.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "DAILIES_DATABASE_URL is no database URL; write postgresql://user@host/name, or leave it out for SQLite."
        ) from error
    if parsed.get_backend_name() not in INSERTS:
        raise ConfigError(
            f"Dailies runs on SQLite or PostgreSQL, but DAILIES_DATABASE_URL asks for {parsed.drivername}."
        )
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def absolute_url(url: str | URL) -> URL:
    """Return the URL with an absolute path for SQLite, so that it does not depend on the current folder.

    Raises ConfigError, also for an in-memory database, which other processes could not open.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return parsed
    path = parsed.database
    if not path or path == ":memory:" or path.startswith("file:"):
        raise ConfigError(
            f"DAILIES_DATABASE_URL must name a file (sqlite:////folder/file.db), but got {str(url)[:80]!r}."
        )
    return parsed.set(database=os.path.abspath(os.path.expanduser(path)))


def open_engine(url: URL, busy_timeout_s: float, foreign_keys: bool) -> Engine:
    """Open the engine. Raises ConfigError for a missing driver, or a path that is too long for SQLite."""
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite and (length := len(os.fsencode(url.database or ""))) > SQLITE_PATH_LIMIT:
        raise ConfigError(
            f"The database's path has {length} bytes, but SQLite opens at most {SQLITE_PATH_LIMIT}: choose a workspace "
            f"with a shorter path than {os.path.dirname(url.database or '')[:80]!r}..., or set DAILIES_DATABASE_URL."
        )
    options: dict[str, Any] = {"connect_args": {"timeout": busy_timeout_s}} if is_sqlite else {"pool_pre_ping": True}
    try:
        engine = create_engine(url, json_serializer=_as_json, pool_size=10, max_overflow=40, **options)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"DAILIES_DATABASE_URL asks for {url.drivername}, which needs the module {error.name}: "
            "`pip install -e '.[postgres]'` in the clone of Dailies."
        ) from error
    event.listen(engine, "before_cursor_execute", _check_values)
    if is_sqlite:
        _set_up_sqlite(engine, busy_timeout_s, foreign_keys)
    elif foreign_keys:  # a migration waits for another one without a timeout
        _set_up_postgresql(engine, busy_timeout_s)
    return engine


def pieces(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield the values in lists that are short enough for an SQL "IN"."""
    rest = iter(values)
    while piece := list(islice(rest, IN_LIMIT)):
        yield piece


def check_text(*texts: str) -> None:
    """Raise ConfigError for a text that no database stores: with a NUL, or half of a surrogate pair."""
    for text in texts:
        if match := UNSTORABLE.search(text):
            shown = text[:40].encode("unicode_escape").decode()
            raise ConfigError(
                f"The text '{shown}' has a character that cannot be stored (U+{ord(match[0]):04X}): remove it."
            )


def storable(value: Any) -> Any:
    """Replace what no database stores in a JSON value: characters by U+FFFD, NaN and infinity by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(entry) for key, entry in value.items()}
    return [storable(entry) for entry in value] if isinstance(value, list | tuple) else value


def _as_json(value: Any) -> str:
    """Serialise to JSON.

    Raises ConfigError for NaN, infinity or another type: psycopg, unlike SQLAlchemy, passes Python's own errors on.
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The database cannot store this: {error}.") from error


def _check_values(_: Any, __: Any, ___: str, parameters: Any, ____: Any, many: bool) -> None:
    """Check the texts of every statement before its execution; several rows may be one flat row."""
    for row in parameters.values() if isinstance(parameters, Mapping) else parameters:
        values = row.values() if isinstance(row, Mapping) else row if isinstance(row, tuple | list) else (row,)
        check_text(*(value for value in values if isinstance(value, str)))


def _set_up_sqlite(engine: Engine, busy_timeout_s: float, foreign_keys: bool) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver begins no transactions: `begin` below does
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged vote survives a power cut
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        patience_ms = options.get("busy_timeout_ms", round(1000 * busy_timeout_s))
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience_ms}")
        connection.exec_driver_sql(f"BEGIN {options.get('begin', 'DEFERRED')}")


def _set_up_postgresql(engine: Engine, busy_timeout_s: float) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {round(1000 * busy_timeout_s)}")
        connection.commit()


def upsert(connection: Connection, table: Table, values: Mapping[str, Any], *, keep: Sequence[str] = ()) -> None:
    """Insert a row, or overwrite the row with the same primary key except for its columns `keep`."""
    insert = INSERTS[connection.dialect.name]
    keys = [column.name for column in table.primary_key]
    changed = {name: value for name, value in values.items() if name not in keys and name not in keep}
    connection.execute(insert(table).values(**values).on_conflict_do_update(index_elements=keys, set_=changed))


def insert_new(connection: Connection, table: Table, values: Mapping[str, Any], *, unique: str) -> bool:
    """Insert a row; return False if another, also a concurrent one, has its value of `unique`."""
    insert = INSERTS[connection.dialect.name](table).values(**values).on_conflict_do_nothing(index_elements=[unique])
    return connection.scalar(insert.returning(table.c[unique])) is not None
