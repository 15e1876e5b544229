"""Additions to the head of Gradio's pages, which precede its own scripts.

Gradio adds the `head` of its Blocks in the browser only, after its scripts have started.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = b"<head>"


class PageHead:
    """ASGI middleware: it puts `head` at the beginning of the head of each HTML page."""

    def __init__(self, app: ASGIApp, *, head: str) -> None:
        self.app, self._head = app, head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = _Page(send, self._head)
        await self.app(scope, receive, page.send if scope["type"] == "http" else send)


class _Page:
    """One answer; HTML is collected until it is complete, since the addition changes its length."""

    def __init__(self, send: Send, head: bytes) -> None:
        self._send, self._head = send, head
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = self._body.replace(HEAD, HEAD + self._head, 1)
        headers = MutableHeaders(raw=list(start["headers"]))
        if "content-length" in headers and body:  # an answer to HEAD has no body
            headers["content-length"] = str(len(body))
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _is_html(message: Message) -> bool:
    headers = MutableHeaders(raw=list(message["headers"]))
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers
