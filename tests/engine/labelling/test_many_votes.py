"""Labelling reads no more with many votes than with few: the rows that its queries pass are counted, not the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, LABELLERS, PAIRS

from .voters import vote_all, vote_on

SCANS = ("SCAN votes", "SCAN assignments", "SCAN pairs", "USE TEMP B-TREE FOR ORDER BY")


@contextmanager
def plans(store: Library) -> Iterator[list[str]]:
    """The plans of all queries meanwhile, by SQLite."""
    found: list[str] = []

    def explain(connection: Any, _: Any, statement: str, parameters: Any, __: Any, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "UPDATE", "WITH")):
            cursor = connection.connection.cursor()
            rows = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            found.extend(f"{row[3]}: {statement}" for row in rows)

    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


@pytest.mark.parametrize("gone", [False, True])
def test_no_question_about_the_progress_is_asked_twice(campaigns, store, library, gone):
    """Counting all pairs takes a tenth of a second on PostgreSQL with many of them."""
    clips = library(6, 3)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=clips, labellers_per_pair=2))
    vote_all(campaigns, campaign, "ann", limit=3)
    vote_all(campaigns, campaign, "bob", limit=2)
    if gone:
        store.delete(clips[:1])
    asked: list[tuple[str, str]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, repr(parameters)))

    engine = store.database._engine
    event.listen(engine, "before_cursor_execute", note)
    for question in (lambda: campaigns.progress(campaign.id), lambda: campaigns.labeller_status(campaign.id, "eve")):
        asked.clear()
        question()
        assert len(asked) > 5 and len(set(asked)) == len(asked)
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the plans are SQLite's
@pytest.mark.parametrize("labeller", ["ann", "somebody new"])
def test_what_a_labeller_asks_for_scans_no_table(campaigns, store, library, labeller):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(6, 3), labellers_per_pair=2, target_votes=30))
    vote_all(campaigns, campaign, "ann", limit=9)
    vote_all(campaigns, campaign, "bob", limit=4)
    with plans(store) as found:
        shown = campaigns.next_pairs(campaign.id, labeller)
        campaigns.labeller_status(campaign.id, labeller)
        campaigns.votes(campaign.id, labeller, last=30)
        campaigns.last_vote(campaign.id, labeller)
        campaigns.vote(vote_on(shown[0]))
        campaigns.edit(vote_on(shown[0], "skip"))
        campaigns.undo(campaign.id, labeller)
        campaigns.revision(campaign.id)
        store.existing([one.left_clip for one in shown])
    assert len(found) > 30
    slow = [plan for plan in found if plan.startswith(SCANS)]
    assert slow == []
    assert [plan for plan in found if "SEARCH clips USING INDEX ix_clips_deleted_at" in plan] == []
    # All votes of a campaign, or of a labeller, are an index's range without a limit.
    ranges = [plan for plan in found if plan.startswith("SEARCH votes USING INDEX") and "LIMIT" not in plan]
    assert [plan for plan in ranges if "ix_votes_" in plan.partition(":")[0]] == []


def test_the_counts_are_those_of_the_votes(campaigns, store, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(5, 3), labellers_per_pair=2))
    shown = vote_all(campaigns, campaign, "ann", lambda one: ["left", "tie", "skip"][one.place % 3], limit=12)
    vote_all(campaigns, campaign, "bob", limit=5)
    campaigns.next_pairs(campaign.id, "cy")
    campaigns.undo(campaign.id, "bob")
    skipped = next(one for one in shown if one.place % 3 == 2 and not one.is_repeat)
    campaigns.edit(vote_on(skipped, "right"))
    campaigns.edit(vote_on(shown[0], "skip"))
    dropped = campaigns.votes(campaign.id, "ann")[-1].vote.pair_id
    check_counts(campaigns, campaign.id)
    before = campaigns.progress(campaign.id)
    campaigns.set_dropped(dropped)
    assert campaigns.progress(campaign.id).votes == len(counted(campaigns, campaign.id)) < before.votes
    check_counts(campaigns, campaign.id)


def counted(campaigns: Campaigns, campaign_id: str) -> list[Any]:
    votes = campaigns.votes(campaign_id)
    return [vote for vote in votes if vote.vote.choice != "skip" and not vote.is_repeat]


def check_counts(campaigns: Campaigns, campaign_id: str) -> None:
    """Compare the counters with what they count, and the views of them with each other."""
    votes = [vote for vote in campaigns.votes(campaign_id, history=True) if vote.ended_as is None]
    with campaigns.store.database.reading() as connection:
        for row in connection.execute(select(LABELLERS)).all():
            own = [vote for vote in votes if vote.vote.labeller == row.labeller]
            skips = [vote for vote in own if vote.vote.choice == "skip"]
            assert (row.done, row.skipped) == (len(own), len(skips))
            assert row.counted == sum(not vote.is_repeat and vote not in skips for vote in own)
        taken = func.count(ASSIGNMENTS.c.slot)
        query = select(PAIRS.c.free, taken).outerjoin(ASSIGNMENTS).group_by(PAIRS.c.id, PAIRS.c.free)
        wanted = campaigns.get(campaign_id).spec.labellers_per_pair
        assert {free + count for free, count in connection.execute(query)} == {wanted}
    totals, progress = campaigns.totals()[campaign_id], campaigns.progress(campaign_id)
    assert (totals.pairs, totals.votes) == (progress.pairs, progress.votes)
    done = {labeller.labeller: labeller.done for labeller in progress.labellers}
    assert done == {name: len(campaigns.votes(campaign_id, name)) for name in done}
