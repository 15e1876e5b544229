"""Clips that a job, a run or a campaign still needs are neither deleted nor purged."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.clock import now
from engine.errors import ConfigError
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.runs.clips_in_use import check_unused, clips_in_use
from engine.runs.purge import purge
from engine.runs.run import Run
from engine.storage.schema import JOBS


@pytest.fixture
def users(store, library):
    """Clips in use by a waiting job, an open campaign (two) and an unfinished run; the last is not in use."""
    ids = library(3, 2)
    row = {"id": "0" * 8, "kind": "score", "status": "queued", "config": {"clip_ids": [ids[0]], "mix": "mini"}}
    with store.database.writing() as connection:
        connection.execute(JOBS.insert().values(**row, resources={}, created_at=now()))
    campaign = Campaigns(store).create(CampaignSpec(title="Two % models", clip_ids=ids[2:4]))
    run = Run(store.workspace.runs / "mini_dpo-1")
    run.folder.mkdir(parents=True)
    run.resolved.write_text("{}")
    run.pairs_file.write_text(json.dumps({"chosen_clip": ids[4], "rejected_clip": "f" * 16}) + "\n{torn")
    return {"job": ids[0], "campaign": ids[2], "run": ids[4], "nobody": ids[1]}, campaign, run


@pytest.mark.parametrize(
    ("who", "named"),
    [
        ("job", r"the job 00000000 \(score\)"),
        ("campaign", "the campaign 'Two % models'"),
        ("run", "the run mini_dpo-1"),
    ],
)
def test_what_is_needed_is_refused_with_its_name(store, users, who, named):
    clips, _, _ = users
    with pytest.raises(ConfigError, match=f"Nothing was deleted: 1 of 2 clips .*{named}"):
        check_unused(store, [clips[who], clips["nobody"]])
    check_unused(store, [clips["nobody"]])


def test_what_is_needed_is_not_purged_until_it_is_not(store, users):
    clips, campaign, run = users
    store.delete(list(clips.values()))
    assert purge(store, older_than=timedelta(0)) == 1
    assert set(store.deleted_ids()) == set(clips.values()) - {clips["nobody"]}
    Campaigns(store).close(campaign.id)
    run.adapter.mkdir()
    with store.database.writing() as connection:
        connection.execute(update(JOBS).values(status="done"))
    assert clips_in_use(store) == {}
    assert purge(store, older_than=timedelta(0)) == 3
