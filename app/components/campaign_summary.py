"""A campaign in figures: progress, agreement, one row per labeller, and exports."""

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.text import labelling
from engine.labelling.campaigns import Campaigns


class CampaignSummary(Component):
    """Results of a campaign. `value` comes from `app.views.campaigns.summary`.

    While visible, it polls for new votes. Event: outdated, when there are new votes.
    """

    custom_events = ("outdated",)

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        campaigns = Campaigns(context.store)

        def pulse(campaign_id: str) -> str:
            return campaigns.revision(str(campaign_id))

        super().__init__(
            "campaign_summary",
            words=labelling.SHEET_WORDS,
            elem_id=name,
            server_functions=[with_problem(pulse)],
            render=render,
        )
