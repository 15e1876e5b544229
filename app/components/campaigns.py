"""Campaigns in the Label tab: their list, and the figures of one."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import labelling
from app.views import campaign_list
from engine.labelling.campaigns import Campaigns


class CampaignList(Component):
    """Campaigns with progress and edit. It asks the server when it is shown. Event: changed {id}."""

    custom_events = ("changed",)

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        campaigns = Campaigns(context.store)

        def news(_: Any = None) -> dict[str, Any]:
            return campaign_list.campaign_list(context)

        def edit(order: campaign_list.Edit) -> dict[str, Any]:
            return campaign_list.edit(context, order)

        def close(campaign_id: str) -> dict[str, Any]:
            campaigns.close(campaign_id)
            return news()

        def reopen(campaign_id: str) -> dict[str, Any]:
            campaigns.reopen(campaign_id)
            return news()

        def delete(campaign_id: str) -> dict[str, Any]:
            campaigns.change(campaign_id, deleted=True)
            return news()

        def restore(campaign_id: str) -> dict[str, Any]:
            campaigns.change(campaign_id, deleted=False)
            return news()

        changing = (edit, close, reopen, delete, restore)
        super().__init__(
            "campaign_list",
            {},
            words=labelling.LIST_WORDS,
            elem_id=name,
            server_functions=[with_problem(news), *(with_problem(once(function)) for function in changing)],
            render=render,
        )


class CampaignSummary(Component):
    """Results of a campaign. `value` comes from `app.views.campaigns.summary`.

    While visible, it polls for new votes. Events: outdated, when there are new votes; learned, when a mix was learned
    from the votes.
    """

    custom_events = ("outdated", "learned")

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        campaigns = Campaigns(context.store)

        def pulse(campaign_id: str) -> str:
            return campaigns.revision(str(campaign_id))

        def learn(order: campaign_list.Learn) -> dict[str, Any]:
            return {"said": campaign_list.learn(context, order)}

        super().__init__(
            "campaign_summary",
            words=labelling.SHEET_WORDS,
            elem_id=name,
            server_functions=[with_problem(pulse), with_problem(once(learn))],
            render=render,
        )
