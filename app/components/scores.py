"""Components of the Score tab: the table of clips, the weights of the mix, and reward disagreement."""

from typing import Any

from typing_extensions import TypedDict

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import general, score
from engine.config.presets import load_preset, save_reweighted


class NewMix(TypedDict):
    """A mix to save: the one that its weights change, its name, and the weights."""

    mix: str
    title: str
    weights: dict[str, float]


class ScoreTable(Component):
    """Clips by score, one column a reward. `value` comes from `app.views.campaign_ranking.table`.

    Events: open_clip {id}, close_clip, compare {ids}, label_these {ids} (the selected clips, or all if none
    is selected), show_set {which, mix}.
    """

    custom_events = ("open_clip", "close_clip", "compare", "label_these", "show_set")

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("score_table", words=general.TABLE_WORDS, elem_id=name, render=render)


class WeightSliders(Component):
    """Sliders for the weights of a mix. `value` comes from `app.views.campaign_ranking.sliders`.

    Moving one ranks the clips again. Events: weigh {weights}, while a slider moves and on reset; saved, when the
    weights were saved as a mix.
    """

    custom_events = ("weigh", "saved")

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def save_mix(order: NewMix) -> dict[str, Any]:
            base = load_preset("rewards", order["mix"])
            saved = save_reweighted(context.workspace, base, order["title"].strip(), order["weights"])
            return {"said": score.saved(saved.title)}

        words = {**general.SLIDER_WORDS, **score.SAVE_WORDS}
        functions = [with_problem(once(save_mix))]
        super().__init__("weight_sliders", words=words, elem_id=name, server_functions=functions, render=render)


class RewardDisagreement(Component):
    """Rewards that prefer another clip than the total does, largest disagreement first.

    `value` comes from `app.views.campaign_ranking.disagreements`. Event: open_clip {id}.
    """

    custom_events = ("open_clip",)

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("reward_disagreement", [], words=general.DISAGREEMENT_WORDS, elem_id=name, render=render)
