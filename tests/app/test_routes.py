"""Access to every route of the server and every event of the page, by role, as a table states it.

A route, a kind of event or a server function that is not in the table fails the test: whoever adds one says here who
may use it.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from app.auth.login import COOKIE, LABEL_PAGE
from app.auth.users import Users, add_user
from app.context import AppContext
from app.middleware.body_limits import limit_of
from app.middleware.gradio_guard import server_functions
from app.page import build_server
from app.text import access

HOME = "http://127.0.0.1"
FOREIGN = {
    "origin": {"origin": "http://127.0.0.1:9999"},
    "null origin": {"origin": "null"},
    "https origin": {"origin": "https://127.0.0.1"},
    "cross-site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "empty"},
    "same-site": {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
    "frame": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    "host": {"host": "evil.example"},
    "host with our name": {"host": "localhost.evil.example"},
    "no host": {"host": ""},
}

# ---- The table. Ours: method, path, whether a labeller may.
OURS = {
    ("GET", "/media/clips/clip_id/name"): False,
    ("GET", "/media/clips/clip_id/overlays/name"): False,
    ("GET", "/media/jobs/job_id/preview"): False,
    ("GET", "/media/pictures/name.png"): False,
    ("GET", "/media/runs/run_id/name/sample"): False,
    ("GET", "/clip/clip_id"): False,
    ("GET", "/trackio/path"): False,
    ("HEAD", "/trackio/path"): False,
    ("POST", "/trackio/path"): False,
    ("GET", "/voting/clip/showing/side.mp4"): False,  # but for pairs that were shown: see test_access
    ("GET", "/voting/me"): True,
    ("POST", "/voting/next"): True,
    ("POST", "/voting/vote"): True,
    ("POST", "/voting/edit"): True,
    ("POST", "/voting/mine"): True,
    ("POST", "/voting/undo"): True,
    ("GET", "/voting/export/campaign_id/layout"): False,
    ("GET", "/docs/name"): False,
    ("GET", "/docs/screenshots/name"): False,
    ("GET", "/label"): True,
    ("GET", "/modules/version/name"): True,  # JavaScript without anything private
}
BY_THE_GATE = {("POST", "/login"), ("POST", "/login/"), ("GET", "/logout"), ("GET", "/favicon.ico")}

# Gradio's, of each mounted page: those that the guard lets through to anybody who may open the page ...
OF_A_PAGE = """
GET / HEAD / GET /config GET /config/ GET /theme.css GET /robots.txt GET /manifest.json GET /svelte/path
GET /static/path GET /assets/path GET /favicon.ico GET /gradio_api/app_id GET /gradio_api/info
GET /gradio_api/startup-events GET /gradio_api/theme.css
"""
# ... those of a page with events ...
OF_EVENTS = """
POST /gradio_api/queue/join GET /gradio_api/queue/data POST /gradio_api/component_server/ POST /gradio_api/upload
GET /gradio_api/upload_progress GET /gradio_api/file=path_or_url HEAD /gradio_api/file=path_or_url
"""
# ... and those that nobody gets.
CLOSED = """
POST /login POST /login/ GET /logout GET /pwa_icon GET /pwa_icon/size GET /monitoring GET /monitoring/summary
GET /monitoring/key GET /gradio_api/deep_link GET /gradio_api/user GET /gradio_api/user/
GET /gradio_api/login_check GET /gradio_api/login_check/ GET /gradio_api/token GET /gradio_api/token/
GET /gradio_api/app_id/ GET /gradio_api/info/ GET /gradio_api/dev/reload GET /gradio_api/runs GET /gradio_api/runs/
GET /gradio_api/openapi.json GET /gradio_api/custom_component/id/environment/type/file_name
GET /gradio_api/proxy=url_path HEAD /gradio_api/proxy=url_path GET /gradio_api/file/path
POST /gradio_api/stream/event_id POST /gradio_api/stream/event_id/close
GET /gradio_api/stream/session_hash/run/component_id/playlist.m3u8
GET /gradio_api/stream/session_hash/run/component_id/playlist-file
GET /gradio_api/stream/session_hash/run/component_id/segment_id.ext POST /gradio_api/reset POST /gradio_api/reset/
GET /gradio_api/heartbeat/session_hash POST /gradio_api/api/api_name POST /gradio_api/api/api_name/
POST /gradio_api/run/api_name POST /gradio_api/run/api_name/ POST /gradio_api/call/api_name
POST /gradio_api/call/api_name/ POST /gradio_api/call/v2/api_name POST /gradio_api/call/v2/api_name/
GET /gradio_api/call/api_name/event_id GET /gradio_api/call/v2/api_name/event_id POST /gradio_api/cancel
POST /gradio_api/component_server GET /gradio_api/queue/status POST /gradio_api/process_recording
POST /gradio_api/vibe-edit POST /gradio_api/vibe-edit/ POST /gradio_api/undo-vibe-edit
POST /gradio_api/undo-vibe-edit/ GET /gradio_api/vibe-code GET /gradio_api/vibe-code/ POST /gradio_api/vibe-code
POST /gradio_api/vibe-code/ POST /gradio_api/vibe-starter-queries POST /gradio_api/vibe-starter-queries/
"""
LABELLERS = """
GET / HEAD / GET /config GET /theme.css GET /robots.txt GET /manifest.json GET /svelte/path GET /static/path
GET /assets/path GET /favicon.ico GET /gradio_api/app_id GET /gradio_api/info GET /gradio_api/startup-events
"""
# The kinds of events: a component's class and what happens to it. All are a researcher's, and go through `queue/join`.
EVENTS = """
Blocks.load Blocks.failure Blocks.success Blocks.then Button.click Checkbox.input Checkbox.change Dropdown.input
Dropdown.change Number.input Number.change Radio.change Radio.input
Slider.input Slider.change Tab.select Textbox.change Textbox.input Textbox.submit UploadButton.upload
"""


def pairs(words: str) -> set[tuple[str, str]]:
    parts = words.split()
    return set(zip(parts[::2], parts[1::2], strict=True))


def addresses(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Mount, method and path of every route there is, with the parameters' names in their places."""
    for route in routes:
        if isinstance(route, Mount):
            yield from addresses(getattr(route.app, "routes", []), prefix + route.path)
        elif hasattr(route, "original_router"):  # FastAPI's place for an included router
            yield from addresses(route.original_router.routes, prefix)
        else:
            path = route.path.replace(":path", "").replace("{", "").replace("}", "")
            yield from ((prefix, method, path) for method in sorted(route.methods or {"GET"}))


def expected(mount: str, method: str, path: str, *, is_ours: bool) -> str:
    """Who is the least that gets it: a labeller, a researcher, nobody, or whom the gate says.

    Raises KeyError for what is not in the table.
    """
    if is_ours:
        return "labeller" if OURS[method, path] else "researcher"
    one = (method, path)
    if mount == "" and one in BY_THE_GATE:
        return "gate"
    if one in pairs(OF_A_PAGE):
        return "labeller" if mount == "/label" and one in pairs(LABELLERS) else "researcher"
    if one in pairs(OF_EVENTS):
        return "researcher" if mount == "" else "nobody"
    if one in pairs(CLOSED):
        return "nobody"
    raise KeyError(f"{mount}{path} ({method}) is not in the table of tests/app/test_routes.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, Users]]:
    folder: Path = tmp_path_factory.mktemp("routes")
    add_user(folder / "users.json", "anna", "labeller", "correct horse")
    add_user(folder / "users.json", "eva", "researcher", "correct horse")
    users, context = Users(folder / "users.json"), AppContext.open(folder / "workspace")

    async def build() -> FastAPI:
        return build_server(context, users=users)

    yield asyncio.run(build()), users
    context.store.close()


@pytest.fixture(scope="module")
def table(server: tuple[FastAPI, Users]) -> list[tuple[str, str, str]]:
    """Method, path, and who gets it."""
    found = []
    for route in server[0].routes:
        is_ours = not isinstance(route, Mount)
        for mount, method, path in addresses([route]):
            found.append((method, mount + path, expected(mount, method, path, is_ours=is_ours)))
    assert len(found) > 150
    return found


@pytest.fixture(scope="module")
def people(server: tuple[FastAPI, Users]) -> Iterator[dict[str, TestClient]]:
    application, users = server

    def person(name: str) -> TestClient:
        cookies = {COOKIE: users.token(name)} if name else {}
        options: dict[str, Any] = {"follow_redirects": False, "raise_server_exceptions": False}
        return TestClient(application, base_url=HOME, cookies=cookies, **options)

    with person("eva") as researcher:
        yield {"nobody": person(""), "labeller": person("anna"), "researcher": researcher}


def page_of(person: TestClient) -> Any:
    """The Gradio page at the root of the server."""
    routes = person.app.routes  # type: ignore[attr-defined]
    return next(route.app.blocks for route in routes if isinstance(route, Mount) and route.path == "")


def gets(person: TestClient, method: str, path: str, **more: Any) -> bool:
    """Return True if a request reached the route."""
    reply = person.request(method, path, **more)
    led_away = path == "/" and reply.headers.get("location") == LABEL_PAGE
    return not led_away and reply.status_code not in (401, 403) and access.NO_ROUTE not in reply.text


def test_everybody_gets_what_the_table_says(table: list[tuple[str, str, str]], people: dict[str, TestClient]) -> None:
    ranks = {"labeller": ("labeller", "researcher"), "researcher": ("researcher",), "nobody": ()}
    # An address of a file answers 403 of its own, since no such file was uploaded.
    own_answers = ("/gradio_api/file=path_or_url", "/trackio/path")
    wrong = []
    for method, path, least in table:
        if least == "gate":
            continue
        for name, person in people.items():
            if path in own_answers and name == "researcher":
                continue
            body = {"json": {}} if method == "POST" else {}
            if method != "HEAD" and gets(person, method, path, **body) != (name in ranks[least]):
                wrong.append((name, method, path, least))
    assert wrong == []


@pytest.mark.parametrize("way", FOREIGN)
def test_nothing_is_done_or_shown_for_a_foreign_page(
    table: list[tuple[str, str, str]], people: dict[str, TestClient], way: str
) -> None:
    said = {
        (method, path): people["researcher"].request(method, path, headers=FOREIGN[way]).status_code
        for method, path, _ in table
    }
    assert {one: status for one, status in said.items() if status != 403} == {}


def test_a_link_from_elsewhere_opens_a_page_and_ends_no_session(people: dict[str, TestClient]) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert people["researcher"].get("/", headers=link).status_code == 200
    assert people["researcher"].get("/logout", headers=link).status_code == 403
    assert people["researcher"].post("/voting/vote", headers=link, json={}).status_code == 403


def test_a_body_over_its_limit_is_refused_by_every_route(
    table: list[tuple[str, str, str]], people: dict[str, TestClient]
) -> None:
    for method, path, _ in table:
        if path == "/logout":  # the login answers it without reading a body
            continue
        reply = people["researcher"].request(
            method, path, headers={"content-length": str(limit_of(path) + 1)}, content=b"secret"
        )
        assert reply.status_code == 413 and "secret" not in reply.text, (method, path)


def test_every_event_and_server_function_is_a_researchers_only(people: dict[str, TestClient]) -> None:
    config = people["researcher"].get("/config").json()
    numbers = [one["id"] for one in config["dependencies"]]
    assert len(numbers) > 100
    page = page_of(people["researcher"])
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/gradio_api/queue/join", {"fn_index": number, "data": [], "session_hash": "x"}) for number in numbers
    ]
    for number, one in page.blocks.items():
        for name in server_functions(one):
            body = {"component_id": number, "fn_name": name, "data": [], "session_hash": "x"}
            calls.append(("/gradio_api/component_server/", body))
    ways = list(FOREIGN.values())
    for turn, (path, body) in enumerate(calls):
        assert people["nobody"].post(path, json=body).status_code == 401, body
        assert people["labeller"].post(path, json=body).status_code == 403, body
        assert people["labeller"].post(f"/label{path}", json=body).status_code == 403, body
        headers = ways[turn % len(ways)]
        assert people["researcher"].post(path, json=body, headers=headers).status_code == 403, (body, headers)
        assert people["researcher"].post(path, content=json.dumps(body)).status_code == 415, body


def test_kinds_of_events_are_in_the_table(people: dict[str, TestClient]) -> None:
    """Of Gradio's components.

    Those of ours send plain values, which `app.middleware.gradio_guard` checks whatever they are.
    """
    page = page_of(people["researcher"])
    found = set()
    for event in page.fns.values():
        for target, name in event.targets:
            owner = page.blocks.get(target, page)
            if type(owner).__module__.startswith("gradio."):
                found.add(f"{type(owner).__name__}.{name}")
    known = set(EVENTS.split())
    assert found <= known, found - known


def test_a_route_without_an_expectation_fails() -> None:
    for mount, is_ours in (("", True), ("", False), ("/label", False)):
        with pytest.raises(KeyError):
            expected(mount, "GET", "/new/route", is_ours=is_ours)
