"""What stands between a request and Gradio's own server.

Gradio's checks of paths in event data hold for an app that was started by `launch()`. Ours is mounted, so `enforce`
puts them in force, and `GradioGuard` admits only the routes that the page uses and only requests of the form that the
page sends: an event that exists, a server function that exists, and no file but an upload of the sender.
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
LOADS_STATE = "deep_link"  # of a query: Gradio would read a file that such a link names

Problem = tuple[str, int]
"""A sentence, and its status."""


def enforce(page: gr.Blocks) -> None:
    """Put Gradio's checks in force that depend on a launch: `_check_allowed` of gradio.processing_utils refuses paths
    outside the uploads in event data where `has_launched`, and SVG files named there become public unless
    `is_running`."""
    page.has_launched = True
    page.is_running = True
    page.api_open = False  # events go through the queue alone


class GradioGuard:
    """ASGI middleware around one mounted page; `has_events` is false for one that only shows something."""

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
        """Why an event is refused: it must be one of the page's, with a value for each of its inputs."""
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
        """Why a call of a component's server function is refused."""
        if not isinstance(body, dict) or not is_session(body) or "data" not in body:
            return access.BAD_REQUEST, 422
        number, name = body.get("component_id"), body.get("fn_name")
        component = self.page.blocks.get(number) if is_index(number) else None
        if component is None or not isinstance(name, str) or name not in server_functions(component):
            return access.BAD_REQUEST, 404
        return files_problem(body["data"], owner)


def server_functions(component: Any) -> Mapping[str, Any]:
    """A component's functions that its script may call, by name."""
    return {name: one for name, one in vars(component).items() if getattr(one, "_is_server_fn", False)}


def is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_session(body: Mapping[str, Any]) -> bool:
    session = body.get("session_hash")
    return isinstance(session, str) and SESSION.fullmatch(session) is not None


def files_problem(value: Any, owner: str) -> Problem | None:
    """Why a value that a browser sent may not be used: it names a file that is no upload of its sender.

    Everything with a path counts as a file, since Gradio and our handlers take it for one.
    """
    for held in objects(value):
        if "path" not in held and not is_file_data(held):
            continue
        path, url = held.get("path"), held.get("url")
        if sentence := upload_problem(path, owner):
            return sentence, 403
        if url is not None and not (isinstance(url, str) and unquote(url).endswith(f"{FILE}{path}")):
            return access.NOT_UPLOADED, 403
    return None


def is_file_data(held: Mapping[str, Any]) -> bool:
    meta = held.get("meta")
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a value, at any depth."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one
