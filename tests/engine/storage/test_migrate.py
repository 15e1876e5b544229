"""A database of any age: new, old, newer than the code, somebody else's."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.errors import StoreError
from engine.storage.database import Database, parse_url
from engine.storage.library import ClipRecord, Library
from engine.storage.migrate import SCRIPTS, known_revisions, upgrade_to_head
from engine.storage.schema import METADATA

NEXT = '''
"""A change of tomorrow: {body}"""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "9001", "{head}"


def upgrade() -> None:
    with op.batch_alter_table("clips") as clips:
        clips.add_column(sa.Column("stars", sa.Integer, server_default="3", nullable=False))
        clips.alter_column("prompt", new_column_name="words")
    {body}
'''


def scripts_of_tomorrow(tmp_path: Path, body: str = "pass") -> Path:
    """The migrations with one more revision, which changes a table that has rows and children."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    code = NEXT.format(head=known_revisions()[-1], body=body)
    (scripts / "versions" / "9001_tomorrow.py").write_text(code.lstrip())
    return scripts


def filled(workspace) -> str:
    """Make a database of today with one clip and its report; the clip's id."""
    store = Library(workspace)
    record = ClipRecord(id="0" * 16, prompt="hello", source="imported", num_frames=1, width=16, height=16, fps=8.0)
    store.add_clip(record)
    store.save_report(record.id, "a", {"total": 0.5, "results": {}})
    url = store.database.url
    store.close()
    return url


def test_the_migrations_make_exactly_the_tables(workspace, database):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from engine.storage.schema import VERSION_TABLE

    store = Library(workspace)
    with store.database.reading() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
    store.close()


def test_the_revisions_known_by_file_name_are_alembics(tmp_path):
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(SCRIPTS))
    assert [revision.revision for revision in script.walk_revisions()][::-1] == known_revisions()
    assert script.get_heads() == [known_revisions()[-1]]


def test_an_old_database_is_copied_and_then_migrated_with_its_rows(workspace, tmp_path):
    url, scripts = filled(workspace), scripts_of_tomorrow(tmp_path)
    upgrade_to_head(url, workspace, busy_timeout_s=1, scripts=scripts)
    database = Database(url)
    with database.reading() as connection:
        assert connection.execute(text("SELECT words, stars FROM clips")).all() == [("hello", 3)]
        assert connection.scalar(text("SELECT count(*) FROM reports")) == 1
    database.close()
    (backup,) = workspace.backups.iterdir()
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT prompt FROM clips").fetchall() == [("hello",)]
    copy.close()
    assert known_revisions()[-1] in backup.name


def test_postgresql_is_migrated_too(workspace, database, tmp_path):
    url, scripts = filled(workspace), scripts_of_tomorrow(tmp_path)
    upgrade_to_head(url, workspace, busy_timeout_s=1, scripts=scripts)
    opened = Database(url)
    with opened.reading() as connection:
        assert connection.execute(text("SELECT words, stars FROM clips")).all() == [("hello", 3)]
    opened.close()


def test_a_migration_that_fails_changes_nothing_and_names_the_copy(workspace, database, tmp_path):
    url, scripts = filled(workspace), scripts_of_tomorrow(tmp_path, body='op.execute("SELECT * FROM nowhere")')
    with pytest.raises(StoreError, match="could not be migrated from .* and is unchanged") as caught:
        upgrade_to_head(url, workspace, busy_timeout_s=1, scripts=scripts)
    if database == "sqlite":
        (backup,) = workspace.backups.iterdir()
        assert str(backup) in str(caught.value)
    store = Library(workspace)
    assert store.clip("0" * 16).total == 0.5
    store.close()


def test_a_copy_that_cannot_be_made_stops_the_migration(workspace, tmp_path):
    url, scripts = filled(workspace), scripts_of_tomorrow(tmp_path)
    workspace.backups.rmdir()
    workspace.backups.write_text("in the way")
    with pytest.raises(StoreError, match="has to be migrated, but"):
        upgrade_to_head(url, workspace, busy_timeout_s=1, scripts=scripts)
    workspace.backups.unlink()
    store = Library(workspace)
    assert store.count() == 1
    store.close()


def test_a_newer_database_is_refused_in_one_sentence(workspace, database, tmp_path):
    url, scripts = filled(workspace), scripts_of_tomorrow(tmp_path)
    upgrade_to_head(url, workspace, busy_timeout_s=1, scripts=scripts)
    with pytest.raises(
        StoreError, match="newer Dailies .its schema is 9001, this version supports up to 0.*update Dailies"
    ):
        Library(workspace)


def test_somebody_elses_tables_are_left_alone(workspace):
    with sqlite3.connect(workspace.database) as theirs:
        theirs.execute("CREATE TABLE clips (paper TEXT)")
    theirs.close()
    with pytest.raises(StoreError, match="a table 'clips' that Dailies did not create"):
        Library(workspace)


def test_a_database_that_is_up_to_date_is_opened_without_alembic(workspace):
    Library(workspace).close()
    check = (
        "import sys; from engine.storage.library import Library; from engine.workspace import Workspace\n"
        "Library(Workspace(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check, str(workspace.root)], check=False).returncode == 0


def test_the_migrations_are_packaged(root):
    setuptools = pytest.importorskip("setuptools")
    found = setuptools.find_packages(str(root), include=["engine*"])
    assert {"engine.storage.migrations", "engine.storage.migrations.versions"} <= set(found)


def test_a_url_can_be_given_as_text():
    assert parse_url("sqlite:////tmp/x.db").database == "/tmp/x.db"
