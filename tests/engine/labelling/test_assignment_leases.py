"""Assignments without a vote expire; undo and creation may be sent twice."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from engine.errors import ConfigError, StoreError
from engine.labelling.assignment import ASSIGNMENT_TIMEOUT
from engine.labelling.campaign_spec import CampaignSpec
from engine.storage.schema import ASSIGNMENTS

from .voters import vote_all


def age_leases(store, by: timedelta) -> None:
    """As if everything that was given had been given earlier, or with the clock ahead."""
    with store.database.writing() as connection:
        for row in connection.execute(select(ASSIGNMENTS.c.id, ASSIGNMENTS.c.created_at)).all():
            change = update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.id)
            connection.execute(change.values(created_at=row.created_at - by))


def test_the_target_is_reached_though_people_close_the_page(campaigns, store, library):
    """Each of three people votes once and goes, with three more pairs that their page had fetched."""
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(6, 4), target_votes=12, repeat_share=0))
    for name in ("ann", "bob", "cy"):
        vote_all(campaigns, campaign, name, limit=1)
    assert campaigns.next_pairs(campaign.id, "dee") == []  # all needed votes are assigned
    age_leases(store, ASSIGNMENT_TIMEOUT + timedelta(seconds=1))
    assert campaigns.labeller_status(campaign.id, "dee").remaining == 9
    assert len(vote_all(campaigns, campaign, "dee")) == 9
    progress = campaigns.progress(campaign.id)
    assert (progress.votes, progress.remaining) == (12, 0)
    assert campaigns.next_pairs(campaign.id, "ann") == []  # who comes back is not asked beyond the target
    assert campaigns.labeller_status(campaign.id, "ann").remaining == 0


def test_a_vote_that_is_withdrawn_is_wanted_again(campaigns, store, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(3, 3), target_votes=2, repeat_share=0))
    shown = vote_all(campaigns, campaign, "ann")
    age_leases(store, ASSIGNMENT_TIMEOUT + timedelta(seconds=1))
    campaigns.undo(campaign.id, "ann")
    assert campaigns.next_pairs(campaign.id, "bob") == []  # it was just given back to its labeller
    assert campaigns.next_pairs(campaign.id, "ann") == [shown[-1]]


def test_a_clock_that_was_set_back_does_not_keep_leases_for_ever(campaigns, store, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(1, 2), target_votes=1, repeat_share=0))
    campaigns.next_pairs(campaign.id, "ann")
    age_leases(store, -timedelta(days=365))  # given when the clock was a year ahead
    assert campaigns.next_pairs(campaign.id, "bob") == []
    age_leases(store, ASSIGNMENT_TIMEOUT + timedelta(seconds=1))
    assert len(campaigns.next_pairs(campaign.id, "bob")) == 1


def test_undo_names_its_vote_so_that_it_may_be_sent_twice(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(4, 3), repeat_share=0))
    vote_all(campaigns, campaign, "ann", limit=3)
    uuids = [one.vote.client_uuid for one in campaigns.votes(campaign.id)]
    assert campaigns.last_vote(campaign.id, "ann") == uuids[2]
    first, again = (campaigns.undo(campaign.id, "ann", uuids[2]) for _ in range(2))
    assert first.vote == again.vote and len(campaigns.votes(campaign.id)) == 2
    assert campaigns.last_vote(campaign.id, "ann") == uuids[1]
    with pytest.raises(StoreError, match="no vote"):
        campaigns.undo(campaign.id, "bob", uuids[1])
    one = campaigns.votes(campaign.id)[0]
    campaigns.edit(replace(one.vote, client_uuid="another-one", choice="tie"))
    with pytest.raises(StoreError, match="was changed in the meantime"):
        campaigns.undo(campaign.id, "ann", uuids[0])


def test_a_campaign_that_is_created_again_by_the_same_request_is_the_same(campaigns, library):
    spec = CampaignSpec(title="t", clip_ids=library(2, 2))
    first, again, other = (campaigns.create(spec, key) for key in ("key-one-1", "key-one-1", "key-two-2"))
    assert first == again and other.id != first.id and len(campaigns.list()) == 2
    with pytest.raises(ConfigError, match="other settings"):
        campaigns.create(spec.model_copy(update={"title": "u"}), "key-one-1")
