"""Components of the Score tab: the table of clips, the weights of the mix, and reward disagreement."""

from app.components.base import Component
from app.text import general


class ScoreTable(Component):
    """Clips by score, one column a reward. `value` comes from `app.views.campaign_ranking.table`.

    Events: open_clip {id}, compare {ids}, label_these {ids} (the selected clips, or all if none is selected).
    """

    custom_events = ("open_clip", "compare", "label_these")

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("score_table", words=general.TABLE_WORDS, elem_id=name, render=render)


class WeightSliders(Component):
    """Sliders for the weights of a mix. `value` comes from `app.views.campaign_ranking.sliders`.

    Moving one ranks the clips again; nothing is stored. Event: weigh {weights}, while a slider moves and on reset.
    """

    custom_events = ("weigh",)

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("weight_sliders", words=general.SLIDER_WORDS, elem_id=name, render=render)


class RewardDisagreement(Component):
    """Rewards that prefer another clip than the total does, largest disagreement first.

    `value` comes from `app.views.campaign_ranking.disagreements`. Event: open_clip {id}.
    """

    custom_events = ("open_clip",)

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("reward_disagreement", [], words=general.DISSENT_WORDS, elem_id=name, render=render)
