"""Clips by score: a column a reward, sorted by any of them, chosen for comparing, exported as CSV."""

from app.components.base import Component
from app.text import general


class ScoreTable(Component):
    """`value` comes from `app.views.campaign_ranking.table`.

    Events: open_clip {id}, compare {ids}, label_these {ids} (those that are chosen, else all).
    """

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("score_table", words=general.TABLE_WORDS, elem_id=name, render=render)
