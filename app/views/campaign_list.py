"""List of campaigns with progress, mixes learned from their votes, and the pairs of a campaign."""

from collections import Counter, defaultdict
from typing import Any

from typing_extensions import TypedDict

from app.context import AppContext
from app.text import labelling as text
from engine.labelling.campaign_spec import Campaign, Pair
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import judge_votes
from engine.labelling.progress import CampaignTotals, votes_by_pair
from engine.labelling.stats.campaign_rewards import learn_campaign_mix


class Edit(TypedDict):
    """New title, instructions, keys ("": 1234) and vote limit (0: none) of a campaign."""

    id: str
    title: str
    instructions: str
    keys: str
    target: int


class Learn(TypedDict):
    """A campaign, the mix that its clips are scored by, and the name of the mix to learn."""

    id: str
    mix: str
    name: str


def campaign_list(context: AppContext) -> dict[str, Any]:
    """Return a row per campaign, and the last deleted one."""
    campaigns = Campaigns(context.store)
    deleted, totals = campaigns.list(deleted=True), campaigns.totals()
    return {
        "rows": [_row(campaign, totals[campaign.id]) for campaign in campaigns.list() if campaign.id in totals],
        "deleted": {"id": deleted[0].id, "title": deleted[0].title} if deleted else None,
    }


def _row(campaign: Campaign, totals: CampaignTotals) -> dict[str, Any]:
    target = totals.target(campaign.spec)
    return {
        "id": campaign.id,
        "title": campaign.title,
        "open": campaign.is_open,
        "votes": totals.votes,
        "of": target,
        "line": text.progress(totals.votes, target, totals.pairs),
        "instructions": campaign.spec.instructions,
        "keys": "".join(campaign.spec.keys),
        "target": campaign.spec.target_votes or 0,
    }


def edit(context: AppContext, order: Edit) -> dict[str, Any]:
    """Change a campaign. Raises ConfigError in one sentence."""
    changes = {"title": order["title"].strip(), "instructions": order["instructions"].strip()}
    keys = tuple(order["keys"].strip())
    Campaigns(context.store).change(order["id"], **changes, keys=keys, target_votes=order["target"] or None)
    return campaign_list(context)


def learn(context: AppContext, order: Learn) -> str:
    """Learn a mix from a campaign's votes and save it in the workspace; return a sentence about it.

    Raises ConfigError in one sentence.
    """
    folder = context.workspace.saved / "rewards"
    saved = learn_campaign_mix(Campaigns(context.store), order["id"], order["mix"], folder, order["name"].strip())
    learned = saved.learned
    return text.learned(order["name"], learned.accuracy, learned.weights)


# ---- The pairs of a campaign
PAIRS_SHOWN = 200  # rows of the table
UNCOUNTED = ("all", "dropped")  # states that do not depend on votes
LETTERS = {1.0: "A", 0.0: "B", 0.5: "="}  # of a judge's score


def pair_table(context: AppContext, campaign_id: str | None, text_: str = "", state: str = "all") -> dict[str, Any]:
    """Return the value of an `ActionTable` with the pairs of a campaign and their votes.

    All words of `text_` must occur in the prompt; `state` is a key of `text.PAIR_STATES`.
    """
    if campaign_id is None:
        return {"columns": [], "rows": [], "note": text.NO_CAMPAIGN}
    campaigns = Campaigns(context.store)
    # The state of pairs needs the votes on all of them.
    votes = votes_by_pair(context.store, campaign_id, [] if state in UNCOUNTED else None)
    judged: dict[str, list[str]] = defaultdict(list)
    for vote in judge_votes(context.store, campaign_id):
        judged[vote.pair.id].append(text.verdict(vote.judge, LETTERS[vote.score]))
    words = text_.lower().split()
    found = [
        pair
        for pair in sorted(campaigns.pairs(campaign_id), key=lambda pair: (pair.prompt, pair.id))
        if all(word in pair.prompt.lower() for word in words) and state in ("all", _state(pair, votes[pair.id]))
    ]
    shown = found[:PAIRS_SHOWN]
    if state in UNCOUNTED:
        votes = votes_by_pair(context.store, campaign_id, [pair.id for pair in shown])
    rows = [_pair_row(pair, votes[pair.id], judged[pair.id]) for pair in shown]
    dropped = sum(pair.dropped_at is not None for pair in found)
    return {"columns": text.PAIR_COLUMNS, "rows": rows, "note": text.pairs_shown(len(rows), len(found), dropped)}


def _state(pair: Pair, votes: Counter[str]) -> str:
    if pair.dropped_at:
        return "dropped"
    if not votes:
        return "unvoted"
    return "split" if votes["a"] == votes["b"] else "decided"


def _pair_row(pair: Pair, votes: Counter[str], judged: list[str]) -> dict[str, Any]:
    counts = [str(votes[choice]) for choice in ("a", "tie", "b", "both_bad")]
    return {
        "key": pair.id,
        "cells": [pair.prompt, pair.entrant_a, pair.entrant_b, *counts, ", ".join(judged)],
        "action": text.RESTORE_PAIR if pair.dropped_at else text.DROP_PAIR,
        "state": "off" if pair.dropped_at else "",
    }
