"""Results of campaigns are new where they are quick, and computed at intervals where they take long."""

from collections.abc import Callable
from typing import Any

import pytest

from app.context import AppContext
from app.views import campaigns as view
from engine.labelling.campaign_spec import Campaign, CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.storage.library import ClipRecord
from tests.engine.labelling.voters import vote_on


@pytest.fixture
def campaign(context: AppContext, make_clip: Callable[..., ClipRecord]) -> Campaign:
    ids = tuple(make_clip(seed=seed, files=True).id for seed in range(4))
    return Campaigns(context.store).create(CampaignSpec(title="t", clip_ids=ids, repeat_share=0))


def test_quick_results_are_those_of_the_newest_vote(context: AppContext, campaign: Campaign) -> None:
    keeper, campaigns = view.ResultsKeeper(context), Campaigns(context.store)
    for count in range(1, 4):
        campaigns.vote(vote_on(campaigns.next_pairs(campaign.id, "ann")[0]))
        keeper.prepare(campaign.id, "mini")
        campaigns.vote(vote_on(campaigns.next_pairs(campaign.id, "ann")[0]))
        assert shown_votes(keeper, campaign) == f"{2 * count} of 6"


def test_slow_results_are_computed_once_in_a_while(
    context: AppContext, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "SLOW_S", -1.0)  # all results are slow
    keeper, campaigns = view.ResultsKeeper(context), Campaigns(context.store)
    assert shown_votes(keeper, campaign) == "0 of 6"
    campaigns.vote(vote_on(campaigns.next_pairs(campaign.id, "ann")[0]))
    keeper.prepare(campaign.id, "mini")
    assert shown_votes(keeper, campaign) == "0 of 6", "it is not due yet"
    monkeypatch.setattr(view, "REFRESH_S", 0.0)
    monkeypatch.setattr(view, "SHARE", 0.0)
    assert shown_votes(keeper, campaign) == "0 of 6", "to show is not to compute"
    keeper.prepare(campaign.id, "mini")
    assert shown_votes(keeper, campaign) == "1 of 6"
    assert keeper.show(campaign.id, "mini").sheet["pulse"] == campaigns.revision(campaign.id)


def shown_votes(keeper: view.ResultsKeeper, campaign: Campaign) -> Any:
    return dict(keeper.show(campaign.id, "mini").sheet["figures"])["Votes"]
