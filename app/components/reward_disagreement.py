"""Which reward would choose another clip than the total does: a line a reward, the one that disagrees most first."""

from app.components.base import Component
from app.text import general


class RewardDisagreement(Component):
    """`value` comes from `app.views.campaign_ranking.dissent`. Event: open_clip {id}."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("reward_disagreement", [], words=general.DISSENT_WORDS, elem_id=name, render=render)
