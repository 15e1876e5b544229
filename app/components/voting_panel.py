"""The voting view: the pair player, and around it the prompt, the votes, and who votes on what."""

from typing import Any

from app.components.base import Component
from app.text import labelling


class VotingPanel(Component):
    """`value` is {campaign, at}: the campaign to show, where the person has not chosen another one since.

    It talks to `app.api.votes` by itself. Events: choose_campaign {id}.
    """

    def __init__(self, name: str, *, offers_new: bool = True, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": False, "offers_new": offers_new}
        super().__init__(
            "clip_player",
            {},
            words=labelling.DESK_WORDS,
            elem_id=name,
            around="voting_panel",
            around_before=("vote_outbox", "vote_history"),
            render=render,
            **more,
        )
