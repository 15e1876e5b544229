"""Trackio's dashboard over the workspace's own store, under the page's login, for looking only.

It is built when somebody first opens it. `build_starlette_app_only` is not part of Trackio's public interface, which is
why its version is pinned.
"""

import asyncio
import os
import threading
from collections.abc import MutableMapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from app.text import monitor as text
from engine.workspace import Workspace

MOUNTED_AT = "/trackio"
READS = ("get_", "list_", "query_")
"""How the names of the calls begin that only read. Nothing else is let through: the runs' folders are the truth."""
CLOSED = ("oauth", "file", "mcp")
ASKS_THE_HUB = ("get_registr",)

Scope = MutableMapping[str, Any]


def trackio_link(workspace: Workspace) -> str:
    """HTML of the link, or of what to say while there is nothing to show."""
    if not any(workspace.trackio.glob("*.db")):
        return f'<span class="hint-left">{text.TRACKIO_OFF}</span>'
    return f'<a href="{MOUNTED_AT}/?project=dailies" target="_blank" rel="noopener">{text.TRACKIO}</a>'


def trackio_routes(workspace: Workspace, dependencies: Sequence[Any] = ()) -> APIRouter:
    """`/trackio/...`; `dependencies` are FastAPI's `Depends(...)`, e.g. for a login. Calls that would change something,
    or fetch files by their path, are refused."""
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)
    dashboard = Dashboard(workspace)

    @router.api_route(MOUNTED_AT + "/{path:path}", methods=["GET", "HEAD", "POST"])
    def forward(path: str, request: Request) -> Response:
        if not reads_only(request.method, path):
            return PlainTextResponse("This is for looking: the runs' folders are the truth.", 403)
        return TrackioHeaders(dashboard)

    return router


class Dashboard:
    """Trackio's own application, told that it lies below `MOUNTED_AT`.

    It runs in an event loop and a thread of its own: its handlers query SQLite without giving way, and one query of a
    large store takes seconds in which the page's loop would serve nobody.
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
            """`receive` or `send`, called in its loop and run in ours."""

            async def call(*args: Any) -> Any:
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*args), ours))

            return call

        running = asyncio.run_coroutine_threadsafe(self._app(below, across(receive), across(send)), its)
        await asyncio.wrap_future(running)

    def _started(self) -> asyncio.AbstractEventLoop:
        """Its loop, with the application built there when it is first asked for."""
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


class TrackioHeaders(Response):
    """A response that another application gives."""

    def __init__(self, application: Dashboard) -> None:
        super().__init__()
        self._application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)


def reads_only(method: str, path: str) -> bool:
    """Whether a request only looks: a page, or a call whose name says so."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        reads = len(parts) == 2 and parts[1].startswith(READS) and not parts[1].startswith(ASKS_THE_HUB)
        return method == "POST" and reads
    return method in ("GET", "HEAD") and parts[0] not in CLOSED
