"""List of campaigns: progress, editing, deletion, and mixes learned from votes."""

from typing import Any

from typing_extensions import TypedDict

from app.context import AppContext
from app.forms.generation_form import mix_choices
from app.text import labelling as text
from engine.labelling.campaigns import Campaign, Campaigns
from engine.labelling.stats.campaign_rewards import learn_campaign_mix


class Edit(TypedDict):
    """New title, instructions and vote limit (0: none) of a campaign."""

    id: str
    title: str
    instructions: str
    target: int


class Learn(TypedDict):
    """A campaign, the mix that its clips are scored by, and the name of the mix to learn."""

    id: str
    mix: str
    name: str


def campaign_list(context: AppContext, **more: Any) -> dict[str, Any]:
    """Return a row per campaign, the last deleted one, and the mixes to learn from."""
    campaigns = Campaigns(context.store)
    deleted = campaigns.list(deleted=True)
    return {
        "rows": [_row(campaigns, campaign) for campaign in campaigns.list()],
        "deleted": {"id": deleted[0].id, "title": deleted[0].title} if deleted else None,
        "mixes": [{"key": key, "title": title} for title, key in mix_choices()[:-1]],
        **more,
    }


def _row(campaigns: Campaigns, campaign: Campaign) -> dict[str, Any]:
    progress = campaigns.progress(campaign.id)
    return {
        "id": campaign.id,
        "title": campaign.title,
        "open": campaign.is_open,
        "votes": progress.votes,
        "of": progress.target,
        "pairs": progress.pairs,
        "instructions": campaign.spec.instructions,
        "target": campaign.spec.target_votes or 0,
    }


def edit(context: AppContext, order: Edit) -> dict[str, Any]:
    """Change a campaign. Raises ConfigError in one sentence."""
    changes = {"title": order["title"].strip(), "instructions": order["instructions"].strip()}
    Campaigns(context.store).change(order["id"], **changes, target_votes=order["target"] or None)
    return campaign_list(context)


def learn(context: AppContext, order: Learn) -> dict[str, Any]:
    """Learn a mix from a campaign's votes and save it in the workspace.

    Raises ConfigError in one sentence.
    """
    folder = context.workspace.saved / "rewards"
    saved = learn_campaign_mix(Campaigns(context.store), order["id"], order["mix"], folder, order["name"].strip())
    learned = saved.learned
    return campaign_list(context, said=text.learned(order["name"], learned.accuracy, learned.weights))
