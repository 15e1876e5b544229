"""Crafted event data: files that the sender did not upload, in every event and server function.

A canary lies on the server's disk. Neither its content nor a copy of it may show up anywhere, and every request that
names it, or anything else that is no upload of its sender, is refused before a handler runs.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from app.auth.login import COOKIE
from app.auth.users import Users, add_user
from app.context import AppContext
from app.middleware.gradio_guard import server_functions
from app.page import build_server

CANARY = "canary-7f3a51c9"
META = {"_type": "gradio.FileData"}
FILE_ROUTES = (
    "/gradio_api/file=",
    "/gradio_api/file/",
    "/file=",
    "/gradio_api/proxy=",
    "/label/gradio_api/file=",
)
JOIN, CALL = "/gradio_api/queue/join", "/gradio_api/component_server/"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the canary, links to it, and a workspace whose uploads are Gradio's."""
    root = tmp_path_factory.mktemp("crafted")
    (root / "secret.mp4").write_text(CANARY)
    (root / "secret.svg").write_text(CANARY)
    (root / "secret.toml").write_text(f'title = "{CANARY}"\n')
    (root / "workspace" / "uploads").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(root / "workspace" / "uploads"))
        yield root


@pytest.fixture(scope="module")
def context(place: Path) -> Iterator[AppContext]:
    opened = AppContext.open(place / "workspace")
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def users(place: Path) -> Users:
    for name in ("eva", "max"):
        add_user(place / "users.json", name, "researcher", "correct horse")
    return Users(place / "users.json")


def built(context: AppContext, users: Users | None) -> FastAPI:
    async def build() -> FastAPI:
        return build_server(context, users=users)

    return asyncio.run(build())


@pytest.fixture(scope="module", params=["open", "login"])
def client(request: pytest.FixtureRequest, context: AppContext, users: Users) -> Iterator[TestClient]:
    """A user with full access: without a login, and as a researcher."""
    server = built(context, users if request.param == "login" else None)
    cookies = {COOKIE: users.token("eva")} if request.param == "login" else {}
    with TestClient(
        server, base_url="http://127.0.0.1", cookies=cookies, raise_server_exceptions=False, follow_redirects=False
    ) as one:
        yield one


@pytest.fixture(scope="module")
def foreign(place: Path, context: AppContext, users: Users) -> str:
    """An upload of another researcher."""
    with TestClient(built(context, users), base_url="http://127.0.0.1", cookies={COOKIE: users.token("max")}) as other:
        (path,) = other.post("/gradio_api/upload", files=[("files", ("theirs.mp4", CANARY.encode()))]).json()
    return str(path)


def page_of(client: TestClient) -> Any:
    """The Gradio page at the root of a client's server."""
    routes = client.app.routes  # type: ignore[attr-defined]
    return next(route.app.blocks for route in routes if isinstance(route, Mount) and route.path == "")


def paths(place: Path, foreign: str) -> list[Any]:
    """Paths that are not uploads of the sender."""
    uploads = place / "workspace" / "uploads"
    (uploads / "e3b0c44298fc1c14-0000000000000000").mkdir(exist_ok=True)
    link = uploads / "e3b0c44298fc1c14-0000000000000000" / "link.mp4"
    if not link.is_symlink():
        link.symlink_to(place / "secret.mp4")
    secret = place / "secret.mp4"
    return [
        "/etc/passwd",
        str(secret),
        str(place / "secret.svg"),
        os.path.relpath(secret),
        f"{uploads}/../../secret.mp4",
        f"{link.parent}/../../../secret.mp4",
        str(link),
        foreign,
        str(uploads),
        f"file://{secret}",
        "http://127.0.0.1:9/secret.mp4",
        "https://169.254.169.254/latest/meta-data",
        f"{secret}\0.mp4",
        "~/secret.mp4",
        "",
        None,
        7,
        ["/etc/passwd"],
    ]


def file_data(path: Any) -> list[dict[str, Any]]:
    return [
        {"path": path, "meta": META},
        {"path": path, "meta": META, "is_stream": True, "mime_type": "image/svg+xml"},
        {"path": path, "url": path, "orig_name": "a.mp4", "size": 5, "meta": META},
        {"path": path},
    ]


def nested(value: Any) -> list[Any]:
    """The value at places that the components' own values have, and deeper."""
    return [value, [value], {"cards": [value]}, {"value": value}, {"a": {"b": [[{"c": value}]]}}]


def events(client: TestClient) -> list[tuple[int, int]]:
    """The number of each event of `/config`, and of its inputs."""
    config = client.get("/config").json()
    return [(one["id"], len(one["inputs"])) for one in config["dependencies"]]


def join(client: TestClient, number: int, data: list[Any], event_data: Any = None) -> Any:
    body = {"fn_index": number, "data": data, "event_data": event_data, "session_hash": "crafted", "trigger_id": None}
    return client.post(JOIN, content=json.dumps(body), headers={"content-type": "application/json"})


def files_of(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and not path.is_symlink()}


def test_every_event_refuses_files_that_its_sender_did_not_upload(
    client: TestClient, place: Path, foreign: str
) -> None:
    crafted = [held for path in paths(place, foreign) for file in file_data(path) for held in nested(file)]
    known, before = events(client), set(files_of(place))
    assert len(known) > 100 and {number for number, _ in known} == set(page_of(client).fns)
    number_of_requests = 0
    for place_in_turn, (number, inputs) in enumerate(known):
        # Each event in each of its inputs and in its event data; over all events, every crafted value comes many times.
        for at in range(-1, inputs):
            held = crafted[(place_in_turn + 7 * (at + 1)) % len(crafted)]
            data = [held if index == at else None for index in range(inputs)]
            reply = join(client, number, data, held if at < 0 else None)
            number_of_requests += 1
            assert reply.status_code == 403, (number, at, held, reply.text)
            assert "passwd" not in reply.text and "secret" not in reply.text and CANARY not in reply.text
    for held in crafted:
        assert join(client, *_one_with_input(known, held)).status_code == 403, held
    assert number_of_requests > 300
    assert set(files_of(place)) - before == set()


def _one_with_input(known: list[tuple[int, int]], held: Any) -> tuple[int, list[Any]]:
    number, inputs = next(one for one in known if one[1] == 1)
    return number, [held][:inputs]


def test_every_server_function_refuses_them_too(client: TestClient, place: Path, foreign: str) -> None:
    page = page_of(client)
    functions = [(number, name) for number, one in page.blocks.items() for name in server_functions(one)]
    assert len(functions) > 25
    for number, name in functions:
        for path in paths(place, foreign):
            body = {"component_id": number, "fn_name": name, "session_hash": "crafted", "data": {"x": file_data(path)}}
            reply = client.post(CALL, json=body)
            assert reply.status_code == 403 and "secret" not in reply.text, (name, path)


def test_no_address_serves_or_fetches_them(client: TestClient, place: Path, foreign: str) -> None:
    for path in paths(place, foreign):
        for route in (
            "/gradio_api/file=",
            "/gradio_api/file/",
            "/file=",
            "/gradio_api/proxy=",
            "/label/gradio_api/file=",
        ):
            if isinstance(path, str) and "\0" not in path:
                reply = client.get(f"{route}{path}")
                assert reply.status_code in (403, 404, 307) and CANARY not in reply.text, (route, path)


def test_no_server_function_answers_null_or_a_wrong_type_with_a_traceback(client: TestClient) -> None:
    page = page_of(client)
    for number, one in page.blocks.items():
        for name in server_functions(one):
            for data in (
                None,
                7,
                1.5,
                True,
                "x",
                [],
                [[]],
                {},
                {"id": None},
                {"preset": 1, "run": None, "settings": []},
            ):
                body = {"component_id": number, "fn_name": name, "session_hash": "crafted", "data": data}
                reply = client.post(CALL, json=body)
                assert reply.status_code in (200, 422), (name, data, reply.text)


@pytest.mark.parametrize("each", [pytest.param(False, id="one-word-a-key"), pytest.param(True, marks=pytest.mark.slow)])
def test_words_in_place_of_paths_reach_no_file(client: TestClient, place: Path, each: bool) -> None:
    """Server functions that take a name: none of them reads a file that the name leads to.

    They get a key alone with one of the words, or with each word.
    """
    secret, page = place / "secret", page_of(client)
    words = [str(secret), f"{secret}.toml", os.path.relpath(secret), f"../../{secret}", f"curriculum:{secret}"]
    keys = ("id", "key", "preset", "run", "model", "mix", "adapter", "prompts", "pairs", "campaign", "curriculum")
    functions = [(number, name) for number, one in page.blocks.items() for name in server_functions(one)]
    known: dict[str, Any] = {"preset": "mini_grpo", "run": "", "settings": {}}
    for place_of_function, (number, name) in enumerate(functions):
        for turn, word in enumerate(words):
            alone = [
                known | {key: word}
                for at, key in enumerate(keys)
                if each or (place_of_function + at) % len(words) == turn
            ]
            for data in (word, dict.fromkeys(keys, word) | {"settings": {}}, *alone):
                body = {"component_id": number, "fn_name": name, "session_hash": "crafted", "data": data}
                reply = client.post(CALL, json=body)
                assert CANARY not in reply.text, (name, data, reply.text)


def test_ones_own_upload_is_taken_and_its_svg_does_not_become_public(client: TestClient) -> None:
    (path,) = client.post("/gradio_api/upload", files=[("files", ("mine.svg", b"<svg/>"))]).json()
    number, inputs = next(one for one in events(client) if one[1] == 1)
    held = {"path": path, "meta": META, "url": f"http://127.0.0.1/gradio_api/file={path}", "orig_name": "mine.svg"}
    assert join(client, number, [held][:inputs]).status_code == 200
    served = client.get(f"/gradio_api/file={path}")
    assert (served.status_code, served.content) == (200, b"<svg/>")
    assert served.headers["content-disposition"].startswith("attachment")
    from gradio.data_classes import _StaticFiles

    assert path not in [str(one) for one in _StaticFiles.all_paths]


def test_gradios_own_checks_are_in_force(client: TestClient, place: Path) -> None:
    """Behind ours: what Gradio itself refuses in a page that was launched."""
    from gradio.context import LocalContext
    from gradio.exceptions import InvalidPathError
    from gradio.processing_utils import async_move_files_to_cache

    page = page_of(client)
    assert page.has_launched and page.is_running and not page.api_open
    token = LocalContext.blocks.set(page)
    try:
        for block in {type(one): one for event in page.fns.values() for one in event.inputs}.values():
            held = {"cards": [{"path": str(place / "secret.mp4"), "meta": META}]}
            with pytest.raises(InvalidPathError):
                asyncio.run(async_move_files_to_cache(held, block, check_in_upload_folder=True))
    finally:
        LocalContext.blocks.reset(token)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {},
        {"fn_index": 10**6, "data": [], "session_hash": "x"},
        {"fn_index": True, "data": [], "session_hash": "x"},
        {"fn_index": None, "data": [], "session_hash": "x"},
        {"fn_index": 0, "data": "x", "session_hash": "x"},
        {"fn_index": 0, "data": [0] * 99, "session_hash": "x"},
        {"fn_index": 0, "data": [], "session_hash": "../x"},
        {"fn_index": 0, "data": [], "session_hash": "x" * 65},
        {"fn_index": 0, "data": [], "session_hash": "x", "batched": True},
    ],
)
def test_what_is_no_event_of_the_page_is_one_sentence(client: TestClient, body: Any) -> None:
    reply = client.post(JOIN, json=body)
    assert reply.status_code == 422 and set(reply.json()) == {"problem", "detail"}
