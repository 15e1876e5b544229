"""Migration of a database without campaigns: a copy is made first, and no data is lost."""

import shutil
import sqlite3

import pytest

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.storage.database import Database, parse_url
from engine.storage.library import Library
from engine.storage.migrate import SCRIPTS, upgrade_to_head

CLIP = "INSERT INTO clips (id, prompt, source, num_frames, width, height, fps, created_at) VALUES "


# The operators of a PostgreSQL server have their own backups.
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_database_from_before_campaigns_gets_them_and_a_copy_is_kept(workspace, tmp_path, put_files, database):
    workspace.database.unlink(missing_ok=True)  # the fixture's own is of today
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts)
    for later in (path for path in (scripts / "versions").glob("0*.py") if path.name[:4] > "0002"):
        later.unlink()
    url = parse_url(f"sqlite:///{workspace.database}")
    upgrade_to_head(url, workspace, busy_timeout_s=5, scripts=scripts)
    clips = [f"{number:016x}" for number in range(2)]
    with sqlite3.connect(workspace.database) as old:
        for clip in clips:
            old.execute(CLIP + f"('{clip}', 'a ball', 'imported', 9, 64, 64, 8.0, '2026-01-01 00:00:00')")
    old.close()
    store = Library(workspace)
    for clip in clips:
        put_files(clip)
    campaign = Campaigns(store).create(CampaignSpec(title="t", clip_ids=tuple(clips)))
    assert [one.prompt for one in Campaigns(store).next_pairs(campaign.id, "ann")] == ["a ball"]
    store.close()
    copies = [path for path in workspace.backups.iterdir() if "-migration-0002-" in path.name]
    (copy,) = copies
    kept = Database(f"sqlite:///{copy}")
    with kept.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM clips").scalar() == 2
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
    kept.close()
    assert "clips" in tables and "votes" not in tables
