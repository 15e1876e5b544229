"""A new campaign: what its form says of pairs and time, and how its clips come while people vote."""

from collections.abc import Callable
from typing import Any

import pytest

from app.context import AppContext
from app.views import campaigns as view
from app.views import clip_sets, voting
from engine.errors import ConfigError
from engine.jobs.handlers.campaign_clips import create_campaign
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.process_identity import ProcessIdentity
from engine.storage.library import ClipRecord

MakeClip = Callable[..., ClipRecord]
pytestmark = pytest.mark.usefixtures("no_worker")


def form(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {"title": "", "what": view.MADE, "prompts": "a star\n\n a ball", "entrants": ["mini"]}
    fields |= {"takes": 3, "num_frames": 0, "which": clip_sets.NEWEST, "per_pair": 1, "target": 0}
    return [{**fields, "strategy": "random", "axes": [], **changes}[name] for name in view.FIELDS]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "6 pairs, about 60 s of voting."),
        ({"entrants": ["mini", "ltx", "wan"], "takes": 1}, "6 pairs, about 60 s of voting."),
        ({"entrants": ["mini", "ltx"], "takes": 9}, "18 pairs, about 3 min of voting."),
        ({"per_pair": 3}, "6 pairs, 18 votes, about 3 min of voting."),
        ({"per_pair": 3, "target": 6}, "6 pairs, about 60 s of voting."),
        ({"prompts": ""}, ""),
        ({"entrants": []}, ""),
        ({"takes": 1}, ""),
    ],
)
def test_a_form_tells_its_pairs_and_the_time_to_vote(context: AppContext, changes: Any, said: str) -> None:
    assert view.estimate_campaign(context, form(**changes)) == said


def test_chosen_clips_are_paired_within_their_prompt(context: AppContext, make_clip: MakeClip) -> None:
    for seed, prompt in enumerate(("a star", "a star", "a star", "a ball", "a ball")):
        make_clip(seed=seed, prompt=prompt)
    which = form(what=view.CLIPS)
    assert view.estimate_campaign(context, which) == "4 pairs, about 40 s of voting."
    made = Campaigns(context.store).create(view.read_spec(context, form(what=view.CLIPS, title="t")))
    assert len(Campaigns(context.store).pairs(made.id)) == 4


@pytest.mark.parametrize("keys", ["123", "1123", "12345", "abcd", "123é"])
def test_keys_of_votes_are_four_digits(keys: str) -> None:
    spec = CampaignSpec(title="t", clip_ids=("a",))
    assert spec.changed(keys=tuple("7890")).keys == ("7", "8", "9", "0") and spec.changed(keys=()).keys == ()
    with pytest.raises(ConfigError, match="four different digits"):
        spec.changed(keys=tuple(keys))


def test_clips_that_are_still_generated_are_counted(context: AppContext, make_clip: MakeClip) -> None:
    fields = {"title": "t", "prompts": ("a star",), "entrants": ({"model": "mini"},), "takes": 3}
    campaigns = Campaigns(context.store)
    campaign, _ = create_campaign(context.queue, campaigns, CampaignSpec.model_validate(fields))
    assert voting.clips_generating(context, campaign.id) == {"generating": 3, "clips": 3}
    first = campaigns.missing_requests(campaign.id)[0]
    context.store.add_clip(ClipRecord.generated(first))
    assert voting.clips_generating(context, campaign.id) == {"generating": 2, "clips": 3}
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None
    context.queue.finish(job.id, "failed", error="no")
    assert voting.clips_generating(context, campaign.id) == {"generating": 0, "clips": 0}
