"""Votes over HTTP. A vote does not go through Gradio: its own route answers faster, and says by its status whether the
browser must send it again or not.

Only an answer of ours may end a vote's stay in the browser: `stored` names the vote that is in the database, `refused`
(409, 422) marks a refusal. Whatever else comes, from a proxy on the way say, the browser keeps the vote and sends it
again. Who votes is what the login says (`app.auth.login`); only where there is none does the browser say a name.

What a labeller is told names no clip and no model: a pair is known by the number of its showing to this labeller, and
so are its two files, which have neither a date nor an ETag. Nobody is told who was behind the two sides: a vote could
still be changed, and the next ones would not be blind.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Never

from fastapi import APIRouter, HTTPException, Request, Response
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
AHEAD = 4  # the pair that is shown, and three that are fetched meanwhile
SHOWN = 30  # of one's own votes, the last ones
SHOWING_LIMIT = 2**31


class Marked(APIRoute):
    """A route whose refusals are marked as ours, FastAPI's own among them."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def marked(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                return refusal("The request is no object with the fields that it needs: load the page again.", 422)
            except HTTPException as error:
                if error.status_code != 409:
                    raise
                return refusal(str(error.detail))

        return marked


def voting_routes(desk: AppContext, dependencies: Sequence[Any] = ()) -> APIRouter:
    """`/voting/...`: who one is, the open campaigns, the next pairs and their files, voting, undoing, one's own votes,
    changing one."""
    router = APIRouter(prefix="/voting", dependencies=list(dependencies), include_in_schema=False, route_class=Marked)
    campaigns = Campaigns(desk.store)

    @router.get("/me")
    def me(request: Request) -> Any:
        """The labeller's name where a login says it, and the campaigns."""
        user = user_of(request.scope)
        name = user.name if user else None
        chosen = [one for one in campaigns.list() if one.is_open]
        return told(lambda: {"labeller": name, "campaigns": [voting.campaign_choice(one) for one in chosen]})

    @router.post("/next")
    def next_pairs(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return told(lambda: ahead(desk, campaigns, text_of(fields, "campaign"), who))

    @router.post("/vote")
    def vote(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return told(lambda: voting.stored(campaigns.vote(read_vote(campaigns, fields, who))))

    @router.post("/edit")
    def edit(request: Request, fields: Fields) -> Any:
        who = labeller_of(request, fields)
        return told(lambda: voting.stored(campaigns.edit(read_vote(campaigns, fields, who))))

    @router.post("/mine")
    def mine(request: Request, fields: Fields) -> Any:
        who, campaign = labeller_of(request, fields), text_of(fields, "campaign")
        return told(lambda: {"votes": voting.own_votes(desk.store, campaigns.votes(campaign, labeller=who)[-SHOWN:])})

    @router.post("/undo")
    def undo(request: Request, fields: Fields) -> Any:
        """Withdraw the vote that the request names, so that the same request, sent again, withdraws no other."""
        who, campaign, named = labeller_of(request, fields), text_of(fields, "campaign"), text_of(fields, "vote")
        return told(lambda: undone(desk, campaigns, campaign, who, named))

    @router.get("/clip/{showing}/{side}.mp4")
    def clip(request: Request, showing: int, side: voting.Side) -> Response:
        user = user_of(request.scope)
        by = user.name if user and user.role == "labeller" else None
        found = told(lambda: campaigns.shown(showing_number(showing), by))
        if isinstance(found, Response):
            found.status_code = 404 if found.status_code == 409 else found.status_code
            return found
        return blind_clip(desk, found.left_clip if side == "left" else found.right_clip)

    return router


def ahead(desk: AppContext, campaigns: Campaigns, campaign_id: str, labeller: str) -> Fields:
    """What the labeller judges next, how far they are, and which vote they could undo."""
    pairs = voting.pairs(desk.store, campaigns.next_pairs(campaign_id, labeller, AHEAD))
    is_open, last = campaigns.get(campaign_id).is_open, campaigns.last_vote(campaign_id, labeller)
    return {"pairs": pairs, "open": is_open, "last": last, **voting.standing(campaigns.standing(campaign_id, labeller))}


def undone(desk: AppContext, campaigns: Campaigns, campaign_id: str, labeller: str, client_uuid: str) -> Fields:
    """The pair of the vote that was withdrawn, and which one could be undone next."""
    vote = campaigns.undo(campaign_id, labeller, client_uuid)
    return {**voting.undone(desk.store, vote), "last": campaigns.last_vote(campaign_id, labeller)}


def told(answer: Callable[[], Any]) -> Any:
    """The answer; or the sentence of what went wrong, under a status that says whether asking again can help."""
    try:
        return answer()
    except DailiesError as error:
        away = isinstance(error, StoreUnavailable)
        return JSONResponse({"problem": printable(str(error))}, 503) if away else refusal(str(error))


def refusal(sentence: str, status: int = 409) -> JSONResponse:
    """An answer that asking again does not change, marked as ours."""
    return JSONResponse({"refused": True, "problem": printable(sentence)}, status)


def printable(sentence: str) -> str:
    """Half of a surrogate pair, which somebody sent, cannot be sent back."""
    return sentence.encode("utf-8", "backslashreplace").decode()


def labeller_of(request: Request, fields: Mapping[str, Any]) -> str:
    """The login's name; without a login the one that the browser sent. Raises HTTP 409 when there is none."""
    user = user_of(request.scope)
    return user.name if user else " ".join(text_of(fields, "labeller").split())


def text_of(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and value else refuse(f"The request lacks its {name}.")


def read_vote(campaigns: Campaigns, fields: Mapping[str, Any], labeller: str) -> Vote:
    """The vote that was sent, on the pair of its `showing`. Raises DailiesError.

    A vote of an older page, which waited in a browser, names `pair_id` and `shown_left` instead.
    """
    vote = fields.get("vote")
    if not isinstance(vote, dict):
        raise ConfigError("The request lacks its vote: load the page again.")
    if "showing" not in vote:
        return Vote.read(vote, labeller)
    said = {name: value for name, value in vote.items() if name != "showing"}
    shown = campaigns.shown(showing_number(vote["showing"]), labeller)
    return Vote.read({**said, "pair_id": shown.pair_id, "shown_left": shown.left_clip}, labeller)


def showing_number(said: Any) -> int:
    """Raises ConfigError for what is no showing's number."""
    if not isinstance(said, int) or isinstance(said, bool) or not 0 < said < SHOWING_LIMIT:
        raise ConfigError("The vote names no pair that was shown: load the page again.")
    return said


def refuse(sentence: str) -> Never:
    raise HTTPException(409, detail=sentence)
