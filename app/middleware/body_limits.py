"""Limits on request bodies, enforced behind the login and before any route.

Except for uploads, a body is read up to its limit and then checked in a thread: 413 if it is too long, 400 if it is not
JSON or nested too deeply, 415 for another content type. Answers repeat nothing of the body. Uploads are streamed by
`app.api.uploads`; here only their length is counted.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.thread_pools import Pool
from app.text import access

KIB, MIB, GIB = 2**10, 2**20, 2**30
UPLOAD = "/gradio_api/upload"
LIMITS: Mapping[str, int] = {
    "/gradio_api/queue/join": 4 * MIB,  # the largest value of the page is a table of 300 clips with their reports
    "/gradio_api/component_server/": MIB,
    UPLOAD: 20 * GIB,  # of all files of one request; `app.api.uploads` limits each
}
LIMIT = 64 * KIB  # of any other route
DEPTH = 64  # objects and arrays within each other
READING_S = 30.0  # for all of a body but an upload
JSON_BODY = "dailies_json"
"""Key of the parsed body in the ASGI scope."""


def limit_of(path: str) -> int:
    return LIMITS.get(path, LIMIT)


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._threads = Pool("body", 4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = limit_of(scope["path"])
        if scope["path"] != UPLOAD:
            await self._read(scope, receive, send, limit)
        elif declared(scope) > limit:
            await too_long(limit)(scope, receive, send)
        else:
            await self._stream(scope, receive, send, limit)

    async def _read(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        body = await taken(scope, receive, limit)
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        value, refusal = await self._checked(scope, body)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self.app({**scope, JSON_BODY: value}, replayed(body, receive), send)

    async def _checked(self, scope: Scope, body: bytes) -> tuple[Any, Response | None]:
        if not body:
            return None, None
        if Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return None, problem(access.NO_JSON, 415)
        value, sentence = await self._threads.run(parsed, body)
        return value, problem(sentence, 400) if sentence else None

    async def _stream(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Count the bytes of an upload; beyond the limit the route gets a disconnect."""
        received, started, over = 0, False, False

        async def counted() -> Message:
            nonlocal received, over
            message = await receive()
            received += len(message.get("body", b""))
            over = over or received > limit
            return {"type": "http.disconnect"} if over else message

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if not over or started:
                started = True
                await send(message)

        try:
            await self.app(scope, counted, guarded_send)
        except ClientDisconnect:
            if not over:
                raise
        if over and not started:
            await too_long(limit)(scope, receive, send)


def declared(scope: Scope) -> int:
    """Return the Content-Length, 0 if it is missing or invalid (the server refuses invalid ones)."""
    declared_length = Headers(scope=scope).get("content-length", "0")
    return int(declared_length[:20]) if declared_length.isascii() and declared_length.isdigit() else 0


async def taken(scope: Scope, receive: Receive, limit: int) -> bytes | Response:
    """Return the whole body, or the answer to one that is longer than the limit or takes too long."""
    if declared(scope) > limit:
        return too_long(limit)
    try:
        async with asyncio.timeout(READING_S):
            body = await _read(receive, limit)
    except TimeoutError:
        return problem(access.TOO_SLOW, 408)
    return too_long(limit) if body is None else body


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Return the whole body, None if it is longer than the limit."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body as one message, then the messages after it."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def parsed(body: bytes) -> tuple[Any, str]:
    """Return the value of a JSON text, and the reason if it is refused, else ""."""
    try:
        value = json.loads(body)
    except RecursionError:
        return None, access.TOO_DEEP.format(depth=DEPTH)
    except ValueError:  # also a number of too many digits, and bytes that are no UTF-8
        return None, access.BAD_JSON
    return (None, access.TOO_DEEP.format(depth=DEPTH)) if is_deeper(value, DEPTH) else (value, "")


def is_deeper(value: Any, depth: int) -> bool:
    """Return True if objects and arrays are nested more than `depth` levels deep."""
    level = [value]
    for _ in range(depth):
        level = [child for item in level if isinstance(item, dict | list) for child in children(item)]
    return any(isinstance(item, dict | list) for item in level)


def children(item: dict[str, Any] | list[Any]) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else item


def too_long(limit: int) -> Response:
    return problem(access.too_long(limit), 413)


def problem(sentence: str, status: int) -> Response:
    """Return an error answer that closes the connection, even if the request is not complete."""
    return JSONResponse({"problem": sentence}, status, headers={"Connection": "close"})
