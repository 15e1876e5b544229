"""Votes over HTTP.

Votes do not use Gradio's events: a route of their own is faster, and its status tells the browser whether to retry.

The browser keeps a vote until our server confirms it: `stored` names the vote that is in the database, `refused` (409,
422) marks a refusal. After any other answer, e.g. one of a proxy, the browser keeps the vote and retries. The labeller
is the logged-in user (`app.auth.login`); without a login the browser sends a name.

Labelling is blind: answers name no clip and no model. A pair and its two files are identified by the number of the
showing to this labeller, and the files have neither a date nor an ETag. The models are not revealed after a vote
either: the vote can still be changed, and later votes would not be blind.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from app.api.media import blind_clip
from app.auth.login import user_of
from app.context import AppContext
from app.views import voting
from engine.errors import ConfigError, DailiesError, StoreUnavailable
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote

Fields = dict[str, Any]
AHEAD = 4  # the shown pair and three prefetched ones
SHOWN = 30  # last votes in the history
SHOWING_LIMIT = 2**31


class Marked(APIRoute):
    """Route that marks refusals as ours, including those of FastAPI, and whose errors are answers."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def marked(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                return refusal("The request is no object with the fields that it needs: load the page again.", 422)
            except StoreUnavailable as error:  # a retry can succeed
                return JSONResponse({"problem": printable(str(error))}, 503)
            except DailiesError as error:
                return refusal(str(error))

        return marked


def voting_routes(context: AppContext) -> APIRouter:
    """Return the routes `/voting/...`: user, campaigns, next pairs and files, vote, undo, history, edit."""
    router = APIRouter(prefix="/voting", include_in_schema=False, route_class=Marked)
    campaigns = Campaigns(context.store)

    @router.get("/me")
    def me(request: Request) -> Any:
        """Return the name of the logged-in labeller, None without a login, and the open campaigns."""
        user = user_of(request.scope)
        name = user.name if user else None
        chosen = [campaign for campaign in campaigns.list() if campaign.is_open]
        return {"labeller": name, "campaigns": [voting.campaign_choice(campaign) for campaign in chosen]}

    @router.post("/next")
    def next_pairs(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return ahead(context, campaigns, text_of(fields, "campaign"), who)

    @router.post("/vote")
    def vote(request: Request, fields: Fields) -> Any:
        return voting.stored(campaigns.vote(read_vote(campaigns, fields, labeller_of(request, fields))))

    @router.post("/edit")
    def edit(request: Request, fields: Fields) -> Any:
        return voting.stored(campaigns.edit(read_vote(campaigns, fields, labeller_of(request, fields))))

    @router.post("/mine")
    def mine(request: Request, fields: Fields) -> Any:
        who, campaign = labeller_of(request, fields), text_of(fields, "campaign")
        return {"votes": voting.own_votes(context.store, campaigns.votes(campaign, labeller=who, last=SHOWN))}

    @router.post("/undo")
    def undo(request: Request, fields: Fields) -> Any:
        """Withdraw the named vote, so that a repeated request withdraws no other."""
        who, campaign, named = labeller_of(request, fields), text_of(fields, "campaign"), text_of(fields, "vote")
        return undone(context, campaigns, campaign, who, named)

    @router.get("/clip/{showing}/{side}.mp4")
    def clip(request: Request, showing: int, side: voting.Side) -> Response:
        user = user_of(request.scope)
        by = user.name if user and user.role == "labeller" else None
        try:
            shown = campaigns.assignment(showing_number(showing), by)
        except StoreUnavailable:
            raise
        except DailiesError as error:
            return refusal(str(error), 404)
        return blind_clip(context, shown.left_clip if side == "left" else shown.right_clip)

    return router


def ahead(context: AppContext, campaigns: Campaigns, campaign_id: str, labeller: str) -> Fields:
    """Return the labeller's next pairs, their progress, and the vote that can be undone."""
    pairs = voting.pairs(context.store, campaigns.next_pairs(campaign_id, labeller, AHEAD))
    is_open, last = campaigns.get(campaign_id).is_open, campaigns.last_vote(campaign_id, labeller)
    return {
        "pairs": pairs,
        "open": is_open,
        "last": last,
        **voting.standing(campaigns.labeller_status(campaign_id, labeller)),
        **voting.clips_generating(context, campaign_id),
    }


def undone(context: AppContext, campaigns: Campaigns, campaign_id: str, labeller: str, client_uuid: str) -> Fields:
    """Withdraw a vote. Return its pair, and the vote that can be undone next."""
    vote = campaigns.undo(campaign_id, labeller, client_uuid)
    return {**voting.undone(context.store, vote), "last": campaigns.last_vote(campaign_id, labeller)}


def refusal(sentence: str, status: int = 409) -> JSONResponse:
    """Return a permanent refusal, marked as ours."""
    return JSONResponse({"refused": True, "problem": printable(sentence)}, status)


def printable(sentence: str) -> str:
    """Escape lone surrogates in a sentence: they cannot be encoded."""
    return sentence.encode("utf-8", "backslashreplace").decode()


def labeller_of(request: Request, fields: Mapping[str, Any]) -> str:
    """Return the logged-in user's name, or without a login the one sent; ConfigError if none is."""
    user = user_of(request.scope)
    return user.name if user else " ".join(text_of(fields, "labeller").split())


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Return a field. Raises ConfigError unless it is a text that is not empty."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"The request lacks its {name}.")
    return value


def read_vote(campaigns: Campaigns, fields: Mapping[str, Any], labeller: str) -> Vote:
    """Read a vote on the pair of its `showing`. Raises DailiesError.

    Votes of older pages, which waited in a browser, name `pair_id` and `shown_left` instead.
    """
    vote = fields.get("vote")
    if not isinstance(vote, dict):
        raise ConfigError("The request lacks its vote: load the page again.")
    if "showing" not in vote:
        return Vote.read(vote, labeller)
    fields_of_vote = {name: value for name, value in vote.items() if name != "showing"}
    shown = campaigns.assignment(showing_number(vote["showing"]), labeller)
    return Vote.read({**fields_of_vote, "pair_id": shown.pair_id, "shown_left": shown.left_clip}, labeller)


def showing_number(value: Any) -> int:
    """Validate the number of a showing. Raises ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < SHOWING_LIMIT:
        raise ConfigError("The vote names no pair that was shown: load the page again.")
    return value
