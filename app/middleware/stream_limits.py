"""Limit on concurrently open event streams.

Gradio opens several per browser tab and has no limit itself. Each stream occupies a task, a queue and a socket of the
server until the browser closes it.
"""

import re
from collections import Counter

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.login import user_of
from app.text import access

STREAMS = re.compile(r"(?:/label)?/gradio_api/(?:queue/data|upload_progress|heartbeat/[^/]*|call/.+)/?")
OF_ONE, OF_ALL = 64, 512
RETRY_S = 10


class StreamLimit:
    """ASGI middleware behind the login; counts by user, or by address without a login."""

    def __init__(self, app: ASGIApp, *, of_one: int = OF_ONE, of_all: int = OF_ALL) -> None:
        self.app, self._of_one, self._of_all = app, of_one, of_all
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not STREAMS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        who = _who(scope)
        if self._open[who] >= self._of_one or self._open.total() >= self._of_all:
            await _refuse(scope, receive, send)
            return
        self._open[who] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[who] -= 1
            self._open += Counter()  # removes zero counts


def _who(scope: Scope) -> str:
    user = user_of(scope)
    if user is not None:
        return f"user {user.name}"
    client = scope.get("client")
    return f"address {client[0] if client else ''}"


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    answer = JSONResponse({"detail": access.MANY_STREAMS}, 429, headers={"Retry-After": str(RETRY_S)})
    await answer(scope, receive, send)
