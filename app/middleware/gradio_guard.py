"""Checks of requests to Gradio's own server.

Gradio checks paths in event data only for an app that was started by `launch()`. Ours is mounted, so `enforce` enables
these checks. `GradioGuard` admits only the routes that the page uses, and only requests that the page can send: an
existing event or server function, and no files but the sender's uploads.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import gradio as gr
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.uploads import Uploads, owner_of, upload_problem
from app.middleware.body_limits import JSON_BODY, UPLOAD
from app.middleware.thread_pools import Pool
from app.text import access

FILES = r"(?:assets|static|svelte)/[\w@+-][\w./@+-]*"
OF_ANY_PAGE = (
    rf"config/?|theme\.css|favicon\.ico|manifest\.json|robots\.txt|{FILES}"
    r"|gradio_api/(?:info|app_id|startup-events|theme\.css)"
)
OF_EVENTS = r"|gradio_api/(?:queue/data|upload_progress|file=.+)"
JOIN, SERVER_FUNCTION, FILE = "/gradio_api/queue/join", "/gradio_api/component_server/", "/gradio_api/file="
SESSION = re.compile(r"[\w-]{1,64}")
LOADS_STATE = "deep_link"  # query parameter that names a file, which Gradio would read

Problem = tuple[str, int]
"""A sentence, and its status."""


def enforce(page: gr.Blocks) -> None:
    """Enable Gradio's checks that depend on a launch.

    With `has_launched`, `_check_allowed` of gradio.processing_utils refuses paths outside the uploads in event data.
    Without `is_running`, SVG files named there would become public.
    """
    page.has_launched = True
    page.is_running = True
    page.api_open = False  # events go through the queue alone


class GradioGuard:
    """ASGI middleware around one mounted page; `has_events` is false for a page without events."""

    def __init__(self, app: ASGIApp, *, page: gr.Blocks, max_file_size: int) -> None:
        self.app, self.page = app, page
        self.has_events = bool(page.fns)
        self._routes = re.compile(f"/(?:{OF_ANY_PAGE}{OF_EVENTS if self.has_events else ''})?")
        self._uploads = Uploads(max_file_size)
        self._threads = Pool("guard", 4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] == "POST" and self.has_events and get_route_path(scope) == UPLOAD:
            request = Request(scope, receive)
            await (await self._uploads.take(request))(scope, receive, send)
        elif problem := await self._problem(scope):
            sentence, status = problem
            await JSONResponse({"problem": sentence, "detail": sentence}, status)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _problem(self, scope: Scope) -> Problem | None:
        path, owner = get_route_path(scope), owner_of(scope)
        if scope["method"] == "POST" and self.has_events and path in (JOIN, SERVER_FUNCTION):
            check = self.event_problem if path == JOIN else self.function_problem
            return await self._threads.run(check, scope.get(JSON_BODY), owner)
        if scope["method"] not in ("GET", "HEAD") or not self._routes.fullmatch(path) or ".." in path.split("/"):
            return access.NO_ROUTE, 404
        if LOADS_STATE.encode() in scope.get("query_string", b""):
            return access.NO_ROUTE, 404
        if path.startswith(FILE) and (sentence := upload_problem(path.removeprefix(FILE), owner)):
            return sentence, 403
        return None

    def event_problem(self, body: Any, owner: str) -> Problem | None:
        """Return why an event is refused: it must exist in the page, with a value for each of its inputs."""
        if not isinstance(body, dict) or not is_session(body) or body.get("batched") or body.get("event_id"):
            return access.BAD_REQUEST, 422
        event = self.page.fns.get(body["fn_index"]) if is_index(body.get("fn_index")) else None
        trigger, data = body.get("trigger_id"), body.get("data")
        if event is None or not (trigger is None or is_index(trigger)):
            return access.BAD_REQUEST, 422
        if not isinstance(data, list) or len(data) != len(event.inputs):
            return access.BAD_REQUEST, 422
        return files_problem([data, body.get("event_data")], owner)

    def function_problem(self, body: Any, owner: str) -> Problem | None:
        """Return why a call of a component's server function is refused."""
        if not isinstance(body, dict) or not is_session(body) or "data" not in body:
            return access.BAD_REQUEST, 422
        number, name = body.get("component_id"), body.get("fn_name")
        component = self.page.blocks.get(number) if is_index(number) else None
        if component is None or not isinstance(name, str) or name not in server_functions(component):
            return access.BAD_REQUEST, 404
        return files_problem(body["data"], owner)


def server_functions(component: Any) -> Mapping[str, Any]:
    """Return the functions of a component that its script may call, by name."""
    return {name: function for name, function in vars(component).items() if getattr(function, "_is_server_fn", False)}


def is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_session(body: Mapping[str, Any]) -> bool:
    session = body.get("session_hash")
    return isinstance(session, str) and SESSION.fullmatch(session) is not None


def files_problem(value: Any, owner: str) -> Problem | None:
    """Return why a value is refused: it names a file that is not an upload of its sender.

    Every object with a path counts as a file, as it does for Gradio and our handlers.
    """
    for item in objects(value):
        if "path" not in item and not is_file_data(item):
            continue
        path, url = item.get("path"), item.get("url")
        if sentence := upload_problem(path, owner):
            return sentence, 403
        if url is not None and not (isinstance(url, str) and unquote(url).endswith(f"{FILE}{path}")):
            return access.NOT_UPLOADED, 403
    return None


def is_file_data(item: Mapping[str, Any]) -> bool:
    meta = item.get("meta")
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a value, at any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending += item.values()
        elif isinstance(item, list):
            pending += item
