"""A pair that was taken out of its campaign is not shown and does not count, until it is taken back."""

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.preference_pairs import preference_pairs

from .voters import vote_all, vote_on


def test_a_dropped_pair_is_not_assigned_and_its_votes_do_not_count(campaigns, library):
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(2, 3), repeat_share=0))
    first, second = campaigns.next_pairs(campaign.id, "ann")[:2]
    campaigns.vote(vote_on(first))
    before, revision = campaigns.progress(campaign.id), campaigns.revision(campaign.id)
    campaigns.set_dropped(first.pair_id)
    campaigns.set_dropped(second.pair_id)
    assert campaigns.revision(campaign.id) != revision
    assert campaigns.votes(campaign.id) == [] and preference_pairs(campaigns.votes(campaign.id)) == []
    assert len(campaigns.votes(campaign.id, history=True)) == 1, "the vote is kept"
    progress = campaigns.progress(campaign.id)
    assert (progress.pairs, progress.votes, progress.target) == (before.pairs - 2, 0, before.target - 2)
    shown = {one.pair_id for name in ("ann", "bob") for one in vote_all(campaigns, campaign, name)}
    assert {first.pair_id, second.pair_id}.isdisjoint(shown) and len(shown) == 4
    dropped = {pair.id: pair.dropped_at for pair in campaigns.pairs(campaign.id) if pair.dropped_at}
    campaigns.set_dropped(first.pair_id)  # again: the time stays
    assert {pair.id: pair.dropped_at for pair in campaigns.pairs(campaign.id) if pair.dropped_at} == dropped
    campaigns.set_dropped(first.pair_id, dropped=False)
    campaigns.set_dropped(second.pair_id, dropped=False)
    assert campaigns.progress(campaign.id).pairs == 6 and len(campaigns.votes(campaign.id)) == 5
    assert [one.pair_id for one in vote_all(campaigns, campaign, "ann")] == [second.pair_id]
