"""Limits on event streams, per user or address and in total; closing one allows another."""

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from app.auth.users import User
from app.context import AppContext
from app.middleware.stream_limits import STREAMS, StreamLimit
from app.page import build_server


class Streams:
    """An application whose streams stay open until an event ends them."""

    def __init__(self) -> None:
        self.end, self.open = asyncio.Event(), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.end.wait()
        self.open -= 1
        await send({"type": "http.response.body", "body": b""})


class Asked:
    """One request, and the status of its answer once it has begun."""

    def __init__(self, app: Any, path: str, address: str, user: User | None, method: str = "GET") -> None:
        self.begun, self.status = asyncio.Event(), 0
        scope = {"type": "http", "method": method, "path": path, "headers": [], "client": (address, 1)}
        self.task = asyncio.create_task(app({**scope, "dailies_user": user}, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begun.set()


async def statuses(app: Any, *asked: tuple[str, str, User | None]) -> list[int]:
    found = [Asked(app, path, address, user) for path, address, user in asked]
    for one in found:
        await one.begun.wait()
    return [one.status for one in found]


CLOSED = {"/gradio_api/dev/reload", "/gradio_api/openapi.json"}
"""Nobody gets these, see test_routes.py; the second only describes a stream."""
DATA, BEAT = "/gradio_api/queue/data", "/gradio_api/heartbeat/abc"


def test_one_address_cannot_take_all_streams() -> None:
    async def run() -> None:
        inner = Streams()
        app = StreamLimit(inner, of_one=2, of_all=4)
        assert await statuses(app, (DATA, "a", None), (BEAT, "a", None), (BEAT, "a", None)) == [200, 200, 429]
        assert await statuses(app, ("/gradio_api/info", "a", None)) == [200], "no stream"
        assert await statuses(app, (DATA, "b", None)) == [200]
        inner.end.set()
        while inner.open:
            await asyncio.sleep(0)
        assert await statuses(app, (DATA, "a", None), (BEAT, "a", None)) == [200, 200], "the old ones are closed"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_users_are_counted_by_name_and_all_together() -> None:
    async def run() -> None:
        app = StreamLimit(Streams(), of_one=2, of_all=4)
        eva, max_ = (User(name=name, role="researcher") for name in ("eva", "max"))
        asked = [(DATA, address, user) for user in (eva, max_) for address in ("a", "b", "c")]
        assert await statuses(app, *asked) == [200, 200, 429, 200, 200, 429]
        assert await statuses(app, (DATA, "d", None)) == [429], "four are open"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_stream_that_is_cancelled_is_closed() -> None:
    async def run() -> None:
        app = StreamLimit(Streams(), of_one=1, of_all=1)
        first = Asked(app, DATA, "a", None)
        await first.begun.wait()
        first.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first.task
        assert await statuses(app, (DATA, "a", None)) == [200]

    asyncio.run(asyncio.wait_for(run(), 30))


def test_the_server_has_the_limit_and_it_knows_every_stream_of_gradio(context: AppContext) -> None:
    async def build() -> FastAPI:
        return build_server(context)

    server = asyncio.run(build())
    assert [one.cls for one in server.user_middleware].count(StreamLimit) == 1
    streams = {route.path for route in routes_of(server.routes) if "GET" in route.methods and is_stream(route)}
    assert {"/gradio_api/queue/data", "/gradio_api/heartbeat/{session_hash}"} <= streams
    assert [path for path in sorted(streams - CLOSED) if not STREAMS.fullmatch(path)] == []


def routes_of(routes: Sequence[Any]) -> Iterator[APIRoute]:
    """Those of all applications and routers below."""
    for route in routes:
        if isinstance(route, Mount):
            yield from routes_of(getattr(route.app, "routes", []))
        elif hasattr(route, "original_router"):  # FastAPI's place for an included router
            yield from routes_of(route.original_router.routes)
        elif isinstance(route, APIRoute):
            yield route


def is_stream(route: APIRoute) -> bool:
    source = inspect.getsource(route.endpoint)
    return "event-stream" in source or "queue_data_helper(" in source
