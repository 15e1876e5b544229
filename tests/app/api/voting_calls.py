"""Requests of a voting page, and the data that the server does not reveal to it."""

import uuid
from typing import Any

from fastapi.testclient import TestClient

from app.context import AppContext
from engine.labelling.assignment import Assignment
from engine.labelling.campaign_spec import Campaign
from engine.labelling.campaigns import Campaigns


def ask(client: TestClient, name: str, campaign: Campaign, **fields: Any) -> Any:
    return client.post(f"/voting/{name}", json={"campaign": campaign.id, "labeller": "anna", **fields})


def undo(client: TestClient, campaign: Campaign, **fields: Any) -> Any:
    """Withdraw the last vote, as the page does."""
    last = ask(client, "next", campaign, **fields).json()["last"]
    return ask(client, "undo", campaign, vote=last, **fields)


def shown(context: AppContext, pair: dict[str, Any]) -> Assignment:
    """Clips on the sides of a pair, which the server does not reveal."""
    return Campaigns(context.store).assignment(pair["showing"], None)


def cast(pair: dict[str, Any], choice: str = "left", **fields: Any) -> dict[str, Any]:
    return {"showing": pair["showing"], "choice": choice, "client_uuid": str(uuid.uuid4()), "ms": 1200, **fields}
