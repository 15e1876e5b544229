"""A campaign in figures: how far it is, how well people agree, a row a labeller, and the exports."""

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.text import labelling
from engine.labelling.campaigns import Campaigns


class CampaignSummary(Component):
    """`value` comes from `app.views.campaigns.sheet`. Event: outdated, when there are votes that it does not know.

    It asks for that while somebody sees it.
    """

    def __init__(self, name: str, desk: AppContext, *, render: bool = True) -> None:
        campaigns = Campaigns(desk.store)

        def pulse(campaign_id: str) -> str:
            return campaigns.pulse(str(campaign_id))

        super().__init__(
            "campaign_summary",
            words=labelling.SHEET_WORDS,
            elem_id=name,
            server_functions=[with_problem(pulse)],
            render=render,
        )
