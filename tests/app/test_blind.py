"""Blind labelling, and votes that the server cannot store."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event

from app.api.votes import voting_routes
from app.context import AppContext
from engine.labelling.campaign_spec import Campaign, CampaignSpec
from engine.labelling.campaigns import Campaigns
from tests.app.api.voting_calls import ask, cast, shown, undo

MakeClip = Callable[..., Any]


@pytest.fixture
def client(context: AppContext) -> TestClient:
    server = FastAPI()
    server.include_router(voting_routes(context))
    return TestClient(server)


@pytest.fixture
def campaign(context: AppContext, make_clip: MakeClip) -> Campaign:
    ids = tuple(make_clip(seed=seed, files=True).id for seed in range(1, 5))
    return Campaigns(context.store).create(CampaignSpec(title="t", clip_ids=ids, axes=("motion",), repeat_share=0))


@pytest.mark.parametrize("bad", ["a\0b", "half \ud800", "\udfff"])
def test_a_text_that_cannot_be_stored_is_refused_for_good(
    client: TestClient, campaign: Campaign, context: AppContext, bad: str
) -> None:
    """Answered as an absence, the browser would send it for ever."""
    pair = ask(client, "next", campaign).json()["pairs"][0]
    sent: list[tuple[str, dict[str, Any]]] = [
        (name, {"labeller": bad, "campaign": campaign.id, "vote": cast(pair)})
        for name in ("next", "vote", "edit", "mine", "undo")
    ]
    sent += [
        ("vote", {"labeller": "anna", "campaign": campaign.id, "vote": cast(pair, **changed)})
        for changed in ({"note": bad}, {"axes": {bad: "left"}}, {"client_uuid": bad}, {"choice": bad})
    ]
    sent += [(name, {"labeller": "anna", "campaign": bad, "vote": bad}) for name in ("next", "mine", "undo")]
    sent += [("undo", {"labeller": "anna", "campaign": campaign.id, "vote": bad})]
    for name, fields in sent:
        body = json.dumps(fields)  # as a browser writes it: half a pair is escaped
        reply = client.post(f"/voting/{name}", content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 409 and reply.json()["refused"] is True, (name, fields, reply.text)
    assert Campaigns(context.store).votes(campaign.id) == []


# ---- Blindness
def leaves(said: Any) -> Iterator[str]:
    """All texts and keys of an answer."""
    if isinstance(said, dict):
        yield from (leaf for pair in said.items() for one in pair for leaf in leaves(one))
    elif isinstance(said, list):
        yield from (leaf for one in said for leaf in leaves(one))
    else:
        yield str(said)


def test_nothing_that_a_labeller_is_told_names_a_clip_or_its_maker(
    client: TestClient, context: AppContext, make_clip: MakeClip
) -> None:
    """All answers of the voting routes, and the clips' files with headers; one model's clips come first."""
    made = [
        make_clip(prompt=prompt, seed=seed, files=True, changes={"adapter": adapter})
        for adapter in (None, "secret_adapter")
        for seed, prompt in enumerate(("a", "b", "c"), start=1 if adapter is None else 4)
    ]
    for record in made[:3]:  # the base model's, made a day before
        for path in context.workspace.clip_folder(record.id).iterdir():
            os.utime(path, (path.stat().st_atime - 86400, path.stat().st_mtime - 86400))
    spec = CampaignSpec(title="t", clip_ids=tuple(one.id for one in made), repeat_share=0.5, axes=("motion",))
    campaign = Campaigns(context.store).create(spec)
    answers, files = [client.get("/voting/me").json()], []
    for choice in ("left", "right", "skip"):
        pairs = ask(client, "next", campaign).json()
        vote = cast(pairs["pairs"][0], choice)
        answers += [pairs, *(ask(client, "vote", campaign, vote=vote).json() for _ in range(2))]
        answers += [ask(client, "edit", campaign, vote=cast(pairs["pairs"][0], "tie")).json()]
        answers += [ask(client, "mine", campaign).json(), undo(client, campaign).json()]
        files += [clip["url"] for clip in pairs["pairs"][0]["clips"]]
    pair_ids = [one.id for one in Campaigns(context.store).pairs(campaign.id)]
    secrets = {"mini", "secret", *(one.id for one in made), *pair_ids}
    told = [leaf for answer in answers for leaf in leaves(answer)]
    assert [leaf for leaf in told for secret in secrets if secret in leaf] == []
    seen = [client.get(url) for url in files]
    assert {reply.status_code for reply in seen} == {200}
    for reply in seen:
        assert not {"last-modified", "etag", "content-disposition", "age"} & set(reply.headers)
        assert not any(secret in str(reply.headers) for secret in secrets)
    varying = [{k: v for k, v in reply.headers.items() if k not in ("content-length", "date")} for reply in seen]
    assert all(headers == varying[0] for headers in varying)  # else it would tell one maker from the other
    names = [clip["id"] for answer in answers for pair in answer.get("pairs", []) for clip in pair["clips"]]
    assert len({name.partition("-")[0] for name in names}) * 2 == len(set(names))  # no clip has one name in two pairs


def test_closing_a_campaign_tells_labellers_no_more(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    """An answer can still be changed then."""
    pair = ask(client, "next", campaign).json()["pairs"][0]
    Campaigns(context.store).close(campaign.id)
    assert "mini" not in ask(client, "vote", campaign, vote=cast(pair)).text


def test_a_vote_that_waited_in_a_browser_since_an_older_page_is_taken(
    client: TestClient, campaign: Campaign, context: AppContext
) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    one, vote = shown(context, pair), cast(pair)
    vote |= {"pair_id": one.pair_id, "shown_left": one.left_clip}
    vote.pop("showing")
    assert ask(client, "vote", campaign, vote=vote).json()["stored"] == vote["client_uuid"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the size of its file can be limited
def test_a_full_disk_keeps_the_vote_in_the_browser(
    client: TestClient, campaign: Campaign, context: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = ask(client, "next", campaign).json()["pairs"][0]
    with context.store.database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    event.listen(
        context.store.database._engine, "begin", lambda one: one.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    )
    vote = cast(pair, note="x" * 2000)
    replies = [ask(client, "vote", campaign, vote={**vote, "client_uuid": str(uuid.uuid4())}) for _ in range(1)]
    for _ in range(60):  # until the pages that are there are used up
        if replies[-1].status_code != 200:
            break
        pair = ask(client, "next", campaign, labeller=f"b{len(replies)}").json()["pairs"][0]
        replies.append(ask(client, "vote", campaign, vote=cast(pair, note="x" * 2000), labeller=f"b{len(replies)}"))
    assert replies[-1].status_code == 503 and "disk is full" in replies[-1].json()["problem"]
