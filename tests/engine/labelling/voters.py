"""Votes of simulated labellers."""

import uuid

from engine.labelling.votes import Vote


def vote_on(assignment, choice="left", **others) -> Vote:
    fields = {"pair_id": assignment.pair_id, "choice": choice, "shown_left": assignment.left_clip, "ms": 900}
    return Vote.read({**fields, "client_uuid": str(uuid.uuid4()), **others}, assignment.labeller)


def vote_all(campaigns, campaign, labeller, choose=lambda assignment: "left", limit=10_000):
    """Vote until nothing is left, and list what was shown in order."""
    shown = []
    while len(shown) < limit and (ahead := campaigns.next_pairs(campaign.id, labeller)):
        campaigns.vote(vote_on(ahead[0], choose(ahead[0])))
        shown.append(ahead[0])
    return shown
