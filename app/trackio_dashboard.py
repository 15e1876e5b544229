"""Read-only Trackio dashboard of the workspace's runs, under the page's login.

It is built at the first request. `build_starlette_app_only` is not part of Trackio's public interface, so Trackio's
version is pinned.
"""

import asyncio
import os
import threading
from collections.abc import MutableMapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from app.text import monitor as text
from engine.workspace import Workspace

MOUNTED_AT = "/trackio"
READS = ("get_", "list_")
"""Prefixes of the read-only API calls. All others are refused: the runs' folders are the source of truth, and one SQL
query, which no page of Trackio sends, could keep everybody else's requests waiting for ever."""
CLOSED = ("oauth", "file", "mcp")
ASKS_THE_HUB = ("get_registr",)

Scope = MutableMapping[str, Any]


def trackio_link(workspace: Workspace) -> str:
    """Return HTML of the link; empty while there are no runs."""
    if not any(workspace.trackio.glob("*.db")):
        return ""
    return f'<a href="{MOUNTED_AT}/?project=dailies" target="_blank" rel="noopener">{text.TRACKIO}</a>'


def trackio_routes(workspace: Workspace) -> APIRouter:
    """Return the routes `/trackio/...`. Calls that change data or fetch files by their path are refused."""
    router = APIRouter(include_in_schema=False)
    dashboard = Dashboard(workspace)

    @router.api_route(MOUNTED_AT + "/{path:path}", methods=["GET", "HEAD", "POST"])
    def forward(path: str, request: Request) -> Response:
        if not reads_only(request.method, path):
            return PlainTextResponse("The dashboard is read-only: the runs' folders are the source of truth.", 403)
        return Forwarded(dashboard)

    return router


class Dashboard:
    """Trackio's own application, mounted at `MOUNTED_AT`.

    It runs in its own event loop and thread: its handlers block on SQLite queries, and one query of a large store takes
    seconds, during which the page's loop could serve no request.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.trackio
        self._app: Any = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        below = {**scope, "root_path": scope.get("root_path", "") + MOUNTED_AT}
        ours, its = asyncio.get_running_loop(), await asyncio.to_thread(self._started)

        def across(function: Any) -> Any:
            """Wrap `receive` or `send`: called in Trackio's loop, it runs in ours."""

            async def call(*args: Any) -> Any:
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*args), ours))

            return call

        running = asyncio.run_coroutine_threadsafe(self._app(below, across(receive), across(send)), its)
        await asyncio.wrap_future(running)

    def _started(self) -> asyncio.AbstractEventLoop:
        """Return Trackio's loop; start it and build the application at the first call."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="trackio", daemon=True).start()
            if self._app is None:
                asyncio.run_coroutine_threadsafe(self._build(), self._loop).result()
            return self._loop

    async def _build(self) -> None:
        os.environ["TRACKIO_DIR"] = str(self._folder)
        from trackio.server import build_starlette_app_only

        self._app = build_starlette_app_only()[0]


class Forwarded(Response):
    """Response of another application."""

    def __init__(self, application: Dashboard) -> None:
        super().__init__()
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)


def reads_only(method: str, path: str) -> bool:
    """Return True for a page, or an API call with a read-only prefix."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        reads = len(parts) == 2 and parts[1].startswith(READS) and not parts[1].startswith(ASKS_THE_HUB)
        return method == "POST" and reads
    return method in ("GET", "HEAD") and parts[0] not in CLOSED
