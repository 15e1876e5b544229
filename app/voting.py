"""Votes over HTTP. A vote does not go through Gradio: its own route answers faster, and says by its status whether the
browser must send it again (503: the database was away) or not (409: it was refused, with the reason).

Who votes is what the login says (`app.access`); only where there is none does the browser say a name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Never

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from app.access import user_of
from app.desk import Desk
from app.views import label
from engine.data.campaigns import Campaigns
from engine.data.votes import Vote
from engine.errors import ConfigError, DailiesError, StoreUnavailable

Fields = dict[str, Any]
AHEAD = 4  # the pair that is shown, and three that are fetched meanwhile
SHOWN = 30  # of one's own votes, the last ones


def voting_routes(desk: Desk, dependencies: Sequence[Any] = ()) -> APIRouter:
    """`/voting/...`: who one is, the open campaigns, the next pairs, voting, undoing, one's own votes, changing one."""
    router = APIRouter(prefix="/voting", dependencies=list(dependencies), include_in_schema=False)
    campaigns = Campaigns(desk.store)

    @router.get("/me")
    def me(request: Request) -> Fields:
        """The labeller's name where a login says it, and the campaigns."""
        user = user_of(request.scope)
        return {
            "labeller": user.name if user else None,
            "campaigns": [label.campaign_choice(one) for one in campaigns.list() if one.is_open],
        }

    @router.post("/next")
    def next_pairs(request: Request, fields: Fields) -> Any:
        return told(lambda: ahead(desk, campaigns, text_of(fields, "campaign"), labeller_of(request, fields)))

    @router.post("/vote")
    def vote(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return told(lambda: label.stored(campaigns.vote(Vote.read(fields_of_vote(fields), who))))

    @router.post("/edit")
    def edit(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return told(lambda: label.stored(campaigns.edit(Vote.read(fields_of_vote(fields), who))))

    @router.post("/mine")
    def mine(request: Request, fields: Fields) -> Any:
        who, campaign = labeller_of(request, fields), text_of(fields, "campaign")
        return told(lambda: {"votes": label.own_votes(desk.store, campaigns.votes(campaign, labeller=who)[-SHOWN:])})

    @router.post("/undo")
    def undo(request: Request, fields: Fields) -> Any:
        who, campaign = labeller_of(request, fields), text_of(fields, "campaign")
        return told(lambda: label.undone(desk.store, campaigns.undo(campaign, who)))

    return router


def ahead(desk: Desk, campaigns: Campaigns, campaign_id: str, labeller: str) -> Fields:
    """What the labeller judges next, and how far they are."""
    pairs = label.pairs(desk.store, campaigns.next_pairs(campaign_id, labeller, AHEAD))
    is_open = campaigns.get(campaign_id).is_open
    return {"pairs": pairs, "open": is_open, **label.standing(campaigns.standing(campaign_id, labeller))}


def told(answer: Any) -> Any:
    """The answer; or the sentence of what went wrong, under a status that says whether asking again can help."""
    try:
        return answer()
    except DailiesError as error:
        return JSONResponse({"problem": str(error)}, status_code=503 if isinstance(error, StoreUnavailable) else 409)


def labeller_of(request: Request, fields: Mapping[str, Any]) -> str:
    """The login's name; without a login the one that the browser sent. Raises HTTP 409 when there is none."""
    user = user_of(request.scope)
    return user.name if user else " ".join(text_of(fields, "labeller").split())


def text_of(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and value else refuse(f"The request lacks its {name}.")


def fields_of_vote(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises ConfigError when the vote is no object."""
    vote = fields.get("vote")
    if not isinstance(vote, dict):
        raise ConfigError("The request lacks its vote: load the page again.")
    return vote


def refuse(sentence: str) -> Never:
    raise HTTPException(409, detail=sentence)
