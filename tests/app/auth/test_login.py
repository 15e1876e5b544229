"""The gate: every route of the server asks who is there, and a labeller gets nothing but labelling."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from app.auth.login import COOKIE, OF_LABELLERS, AuthMiddleware
from app.auth.users import Users, add_user
from app.context import AppContext
from app.page import build_server
from engine.errors import StoreError
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns

MakeClip = Callable[..., Any]
PASSWORD = "correct horse"
OPEN = ("/login", "/logout", "/favicon.ico")  # to everybody; the icon is an empty answer


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.json"
    add_user(path, "anna", "labeller", PASSWORD)
    add_user(path, "eva", "researcher", PASSWORD)
    return path


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppContext]:
    """One for all tests here: a server takes seconds to build."""
    opened = AppContext.open(tmp_path_factory.mktemp("access") / "workspace")
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def server(context: AppContext, file: Path) -> FastAPI:
    async def build() -> FastAPI:
        return build_server(context, users=Users(file))

    return asyncio.run(build())


def logged_in(server: FastAPI, file: Path, name: str) -> TestClient:
    cookies = {COOKIE: Users(file).token(name)}
    return TestClient(server, cookies=cookies, follow_redirects=False, base_url="http://127.0.0.1")


@pytest.fixture
def stranger(server: FastAPI) -> Iterator[TestClient]:
    yield TestClient(server, follow_redirects=False, base_url="http://127.0.0.1")


def addresses(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of every route there is, Gradio's included, with something in the place of parameters."""
    for route in routes:
        if isinstance(route, Mount):
            yield from addresses(getattr(route.app, "routes", []), prefix + route.path)
        elif hasattr(route, "original_router"):  # FastAPI's place for an included router
            yield from addresses(route.original_router.routes, prefix)
        else:
            path = prefix + route.path.replace(":path", "").replace("{", "").replace("}", "")
            yield from ((method, path) for method in sorted(route.methods or {"GET"}))


def test_no_route_answers_a_stranger(server: FastAPI, stranger: TestClient) -> None:
    asked = list(addresses(server.routes))
    assert (
        len(asked) > 100 and any("gradio_api" in path for _, path in asked) and any("/voting/" in p for _, p in asked)
    )
    assert {(path, stranger.request(method, path).status_code) for method, path in asked if path not in OPEN} == {
        (path, 401) for _, path in asked if path not in OPEN
    }


def test_a_labeller_gets_only_what_voting_needs(server: FastAPI, file: Path) -> None:
    anna = logged_in(server, file, "anna")
    closed = [
        (method, path)
        for method, path in addresses(server.routes)
        if not OF_LABELLERS.fullmatch(path) and path not in ("/", *OPEN)
    ]
    assert len(closed) > 50
    wrong = [(method, path) for method, path in closed if anna.request(method, path).status_code != 403]
    assert wrong == []
    assert (anna.get("/").status_code, anna.get("/").headers["location"]) == (303, "/label/")
    for path in ("/config", "/label/gradio_api/file=/etc/passwd", "/label/gradio_api/upload", "/label/../config"):
        assert anna.get(path).status_code == 403, path
    assert anna.get("/label/").status_code == 200 and anna.get("/label/config").status_code == 200
    assert anna.get("/voting/me").json() == {"labeller": "anna", "campaigns": []}


def test_a_labeller_sees_only_clips_that_were_given(
    server: FastAPI, file: Path, context: AppContext, make_clip: MakeClip
) -> None:
    ids = [make_clip(seed=seed, files=True).id for seed in (1, 2, 3)]
    campaign = Campaigns(context.store).create(CampaignSpec(title="t", clip_ids=tuple(ids[:2])))
    anna, eva = logged_in(server, file, "anna"), logged_in(server, file, "eva")
    by_id = [f"/media/clips/{clip_id}/{name}" for clip_id in ids for name in ("clip.mp4", "poster.jpg", "frames.mkv")]
    said = anna.post("/voting/next", json={"campaign": campaign.id, "labeller": "eva"}).json()
    assert len(said["pairs"]) == 1 and "mini" not in str(said)
    urls = [clip["url"] for clip in said["pairs"][0]["clips"]]
    theirs = Campaigns(context.store).next_pairs(campaign.id, "bob") or Campaigns(context.store).next_pairs(
        Campaigns(context.store).create(campaign.spec).id, "bob"
    )
    others = [f"/voting/clip/{theirs[0].id}/{side}.mp4" for side in ("left", "right")]
    assert [anna.get(url).status_code for url in (*urls, *others, "/voting/clip/999999999/left.mp4")] == [
        *(200, 200, 403, 403, 403)
    ]
    assert {anna.get(url).status_code for url in by_id} == {403}  # a clip's own address says when it was made
    assert [eva.get(url).status_code for url in (*urls, *others, *by_id)] == [200] * 13
    assert Campaigns(context.store).progress(campaign.id).labellers[0].labeller == "anna"


def test_a_researcher_gets_everything(server: FastAPI, file: Path) -> None:
    eva = logged_in(server, file, "eva")
    assert eva.get("/config").status_code == 200 and eva.get("/voting/me").json()["labeller"] == "eva"
    assert "private" in eva.get("/config").headers["cache-control"]


def test_a_browser_is_led_to_the_form_and_back(server: FastAPI, stranger: TestClient) -> None:
    sent = stranger.get("/clip/0123456789abcdef", headers={"accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fclip%2F0123456789abcdef")
    assert "Log in" in stranger.get(sent.headers["location"]).text
    typed = {"name": "eva", "password": PASSWORD, "next": "/clip/0123456789abcdef"}
    came = stranger.post("/login", data=typed)
    assert (came.status_code, came.headers["location"]) == (303, "/clip/0123456789abcdef")
    cookie = came.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert stranger.get("/config").status_code == 200
    assert stranger.get("/logout").status_code == 303 and stranger.get("/config").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
def test_logging_in_leads_to_no_other_host(stranger: TestClient, target: str) -> None:
    came = stranger.post("/login", data={"name": "eva", "password": PASSWORD, "next": target})
    assert came.headers["location"] == "/"


def test_a_wrong_password_is_said_and_html_in_it_is_text(stranger: TestClient) -> None:
    refused = stranger.post("/login", data={"name": "<b>", "password": "x", "next": '"><script>'})
    assert refused.status_code == 403 and "Wrong name or password" in refused.text and "<script>" not in refused.text
    assert stranger.post("/login", content=b"x" * 10_000).status_code == 413


def test_a_link_logs_in_and_no_other_token_does(server: FastAPI, file: Path, stranger: TestClient) -> None:
    users = Users(file)
    assert stranger.get("/login", params={"link": users.token("anna")}).status_code == 403
    came = stranger.get("/login", params={"link": users.token("anna", "link")})
    assert (came.status_code, came.headers["location"]) == (303, "/label/")
    assert stranger.get("/label/").status_code == 200


def test_a_link_does_not_replace_another_users_session_unasked(server: FastAPI, file: Path) -> None:
    link, own = Users(file).token("anna", "link"), logged_in(server, file, "anna")
    assert own.get("/login", params={"link": link}).status_code == 303, "it is hers"
    other = logged_in(server, file, "eva")
    asked = other.get("/login", params={"link": link})
    assert asked.status_code == 200 and "set-cookie" not in asked.headers and "logged in as eva" in asked.text
    assert f'value="{link}"' in asked.text and "Continue as anna" in asked.text
    came = other.post("/login", data={"link": link})
    assert (came.status_code, came.headers["location"]) == (303, "/label/") and COOKIE in came.headers["set-cookie"]
    assert other.post("/login", data={"link": "x" + link}).status_code == 403


def test_a_logout_that_cannot_be_recorded_still_logs_the_browser_out(
    server: FastAPI, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Users, token: str) -> None:
        raise StoreError("The list cannot be written.")

    monkeypatch.setattr(Users, "end", fail)
    left = logged_in(server, file, "eva").get("/logout")
    assert left.status_code == 503 and "a copy of this session stays valid" in left.text
    assert f'{COOKIE}="";' in left.headers["set-cookie"]


# ---- Guessing passwords, and cookies over HTTPS
@pytest.fixture
def strict(context: AppContext, file: Path) -> Iterator[TestClient]:
    """A gate of its own before next to nothing, so that who is locked out here is locked out of no other test."""
    inner = FastAPI()
    inner.add_middleware(AuthMiddleware, users=Users(file), given=lambda name, clip_id: False)
    yield TestClient(inner, follow_redirects=False)


def try_in(client: TestClient, name: str, password: str) -> Any:
    return client.post("/login", data={"name": name, "password": password})


def test_a_name_is_locked_out_after_five_wrong_passwords_even_for_the_right_one(strict: TestClient) -> None:
    assert [try_in(strict, "anna", f"guess {n}").status_code for n in range(5)] == [403] * 5
    locked = try_in(strict, "anna", PASSWORD)
    assert locked.status_code == 429 and 890 <= int(locked.headers["retry-after"]) <= 900
    assert "Too many wrong passwords: try again in 15 minutes." in locked.text and "set-cookie" not in locked.headers
    assert try_in(strict, "eva", PASSWORD).status_code == 303


def test_the_right_password_clears_what_was_mistyped(strict: TestClient) -> None:
    for _ in range(2):
        assert [try_in(strict, "eva", "mistyped").status_code for _ in range(4)] == [403] * 4
        assert try_in(strict, "eva", PASSWORD).status_code == 303


def test_tries_that_are_sent_at_once_are_counted_before_they_have_failed(strict: TestClient) -> None:
    with ThreadPoolExecutor(12) as threads:
        said = Counter(threads.map(lambda n: try_in(strict, "anna", f"guess {n}").status_code, range(12)))
    assert said == {403: 5, 429: 7}


@pytest.mark.parametrize(("address", "secure"), [("http://testserver", False), ("https://testserver", True)])
def test_the_cookie_is_secure_where_the_browser_came_over_https(strict: TestClient, address: str, secure: bool) -> None:
    came = strict.post(f"{address}/login", data={"name": "eva", "password": PASSWORD})
    assert came.status_code == 303 and ("secure" in came.headers["set-cookie"].lower()) == secure
