"""The weights of a mix as sliders. They rank clips again while they are moved, and change nothing that is stored."""

from app.components.base import Component
from app.text import general


class WeightSliders(Component):
    """`value` comes from `app.views.campaign_ranking.sliders`. Event.

    Weigh {weights}, while a slider moves or on reset.
    """

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("weight_sliders", words=general.SLIDER_WORDS, elem_id=name, render=render)
