"""Opening databases, bad ones too, and what happens when several processes want one at once."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from engine.errors import ConfigError, StoreError, StoreUnavailable
from engine.storage.database import SQLITE_PATH_LIMIT, Database, parse_url
from engine.storage.database_errors import remedy
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace


def a_clip(number: int) -> ClipRecord:
    return ClipRecord(
        id=f"{number:016x}", prompt="", source="imported", num_frames=1, width=16, height=16, fps=8.0, model="mini"
    )


@pytest.mark.parametrize("length", [503, 504, 505, 1200])
def test_a_path_that_sqlite_cannot_open_is_refused_with_its_length(tmp_path, length):
    room = length - len(os.fsencode(tmp_path)) - len("/dailies.db")
    names = [*["d" * 150] * (room // 151), "d" * (room % 151 - 1)]
    space = Workspace(tmp_path.joinpath(*names)).prepare()
    assert len(os.fsencode(space.root / "dailies.db")) == length
    if length <= SQLITE_PATH_LIMIT:
        Library(space).close()
        return
    with pytest.raises(ConfigError, match=f"has {length} bytes, but SQLite opens at most 504: choose a workspace"):
        Library(space)


def test_sqlite_runs_in_wal_mode_with_foreign_keys(workspace):
    store = Library(workspace)
    with store.database.reading() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    store.close()


def test_a_locked_database_is_one_sentence(workspace):
    store = Library(workspace, busy_timeout_s=0.1)
    holder = sqlite3.connect(workspace.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another process; try again"):
        store.add_clip(a_clip(1))
    assert store.clips() == []  # readers do not wait
    holder.close()
    store.add_clip(a_clip(1))
    store.close()


def test_readers_go_on_while_many_writers_wait_for_a_locked_database(workspace):
    """As many threads as a web server has, and more writers than those: they must not occupy all of them."""
    store = Library(workspace)
    holder = sqlite3.connect(workspace.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(40) as threads:
        writers = [threads.submit(store.add_clip, a_clip(number)) for number in range(45)]
        readers = [threads.submit(store.count) for _ in range(20)]
        assert [reader.result(timeout=6) for reader in readers] == [0] * 20  # less than the writers' patience
        assert not all(writer.done() for writer in writers)
        holder.close()
        failures = [writer.exception(timeout=30) for writer in writers]
    written = failures.count(None)
    assert written == store.count() >= 1
    assert all(isinstance(one, StoreUnavailable) and "try again" in str(one) for one in failures if one is not None)
    store.close()


def test_a_writer_waits_no_longer_than_its_patience_in_all(workspace):
    """Its turn among the threads and SQLite's lock come out of one patience."""
    store = Library(workspace, busy_timeout_s=1.0)
    holder = sqlite3.connect(workspace.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        for writer in [threads.submit(store.add_clip, a_clip(number)) for number in range(6)]:
            with pytest.raises(StoreUnavailable):
                writer.result()
    assert time.monotonic() - began < 4  # one after another would be 6 s
    holder.close()
    store.close()


# SQLite has one lock for all tables.
@pytest.mark.skipif("DAILIES_TEST_POSTGRES_URL" not in os.environ, reason="name one in DAILIES_TEST_POSTGRES_URL")
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_waits_for_a_lock_no_longer_than_its_patience(workspace, database):
    store, other = Library(workspace, busy_timeout_s=0.3), Library(workspace)
    with other.database.writing() as connection:
        connection.execute(text("LOCK TABLE clips IN EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.add_clip(a_clip(1))
    store.close()
    other.close()


def test_a_reader_sees_one_state_of_the_database(store):
    count = text("SELECT count(*) FROM clips")
    with store.database.reading() as connection:
        before = connection.scalar(count)
        with ThreadPoolExecutor(1) as other:
            other.submit(store.add_clip, a_clip(1)).result()
        assert connection.scalar(count) == before == 0
    assert store.count() == 1


def test_what_was_written_is_on_the_disk(workspace):
    store = Library(workspace)
    with store.database.writing() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
    store.close()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SQLITE_IOERR_WRITE", "disk is full or failing .disk I/O error.; free some space"),
        ("SQLITE_FULL", "the disk is full; free some space"),
        ("SQLITE_CORRUPT_INDEX", "dailies database restore"),
        ("SQLITE_READONLY_DBMOVED", "may not be written"),
    ],
)
def test_what_sqlite_reports_is_told_by_its_code(name, sentence):
    error = sqlite3.OperationalError("words of any kind")
    error.sqlite_errorname = name
    assert re.search(sentence, remedy(error))


def test_a_writer_waits_for_its_turn(workspace):
    store = Library(workspace)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.add_clip(a_clip(number)), range(64)))
    assert store.count() == 64
    store.close()


def test_what_fails_in_the_middle_never_happened(store):
    with pytest.raises(ZeroDivisionError), store.database.writing() as connection:
        connection.execute(text("DELETE FROM clips"))
        store_of_nothing = 1 / 0
        assert store_of_nothing
    store.add_clip(a_clip(1))
    with pytest.raises(KeyError), store.database.writing() as connection:
        connection.execute(text("DELETE FROM clips"))
        raise KeyError
    assert store.count() == 1


def test_a_file_that_is_no_database_is_left_alone(workspace):
    workspace.database.write_bytes(b"these are my notes, not a database" * 100)
    before = workspace.database.read_bytes()
    with pytest.raises(StoreError, match="not an SQLite database; move it away"):
        Library(workspace)
    assert workspace.database.read_bytes() == before


def test_a_database_that_is_a_folder_is_one_sentence(workspace):
    workspace.database.mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        Library(workspace)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "no database URL"),
        ("mysql://someone@here/dailies", "SQLite or PostgreSQL, but DAILIES_DATABASE_URL asks for mysql"),
        ("postgresql+pg8000://someone@here/dailies", "needs the module pg8000: `pip install"),
    ],
)
def test_a_bad_url_is_one_sentence(workspace, monkeypatch, url, sentence):
    monkeypatch.setenv("DAILIES_DATABASE_URL", url)
    with pytest.raises(ConfigError, match=sentence):
        Library(workspace)


def test_a_server_that_is_not_there_is_one_sentence_without_the_password(workspace, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setenv("DAILIES_DATABASE_URL", "postgresql://someone:secret@127.0.0.1:1/dailies")
    with pytest.raises(StoreError, match="the server cannot be reached") as caught:
        Library(workspace)
    assert "secret" not in str(caught.value)


def test_the_driver_is_chosen_for_bare_postgresql():
    assert parse_url("postgresql://a@b/c").drivername == "postgresql+psycopg"
    assert parse_url("postgresql+asyncpg://a@b/c").drivername == "postgresql+asyncpg"


def test_processes_that_open_a_new_workspace_at_once_all_succeed(workspace, database):
    """The first makes the tables, the others wait for it; each then writes."""
    program = (
        "import sys; from engine.storage.library import Library, ClipRecord; from engine.workspace import Workspace\n"
        "sys.stdin.read(1); store = Library(Workspace.from_env())\n"
        "store.add_clip(ClipRecord(id=f'{int(sys.argv[1]):016x}', prompt='', source='imported', num_frames=1, "
        "width=16, height=16, fps=8.0))"
    )
    command = [sys.executable, "-c", program]
    starters = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
        for number in range(4)
    ]
    for process in starters:
        process.stdin.write(b"x")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1].decode() for process in starters]
    assert [process.returncode for process in starters] == [0, 0, 0, 0], errors
    store = Library(workspace)
    assert store.count() == 4
    store.close()


def test_a_database_without_foreign_keys_is_only_for_migrations(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'one.db'}", foreign_keys=False)
    with database.reading() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 0
    database.close()
