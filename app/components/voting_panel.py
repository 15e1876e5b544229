"""The voting panel: the player of a pair, its prompt, the votes, the campaign and the labeller."""

from typing import Any

from app.components.base import Component
from app.text import labelling


class VotingPanel(Component):
    """Voting panel. `value` is {campaign, at}.

    It shows this campaign unless the labeller has chosen another one since. Its script uses the routes of
    `app.api.votes`. Events: choose_campaign {id}; with `offers_new`, after the last vote, see_results {id} and
    train_on_votes {id}.
    """

    custom_events = ("choose_campaign", "see_results", "train_on_votes")

    def __init__(self, name: str, *, offers_new: bool = True, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": False, "offers_new": offers_new}
        super().__init__(
            "clip_player",
            {},
            words=labelling.DESK_WORDS,
            elem_id=name,
            around="voting_panel",
            render=render,
            **more,
        )
