"""Additions to the head of Gradio's pages, which precede its own scripts.

Gradio adds the `head` of its Blocks in the browser only, after its scripts have started.
"""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = b"<head>"


class PageHead:
    """ASGI middleware: it puts `head` at the beginning of the head of each HTML page."""

    def __init__(self, app: ASGIApp, *, head: str) -> None:
        self.app, self._head = app, HEAD + head.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, Answer(send, self._change).send if scope["type"] == "http" else send)

    def _change(self, headers: MutableHeaders, page: bytes | None) -> bytes:
        body = (page or b"").replace(HEAD, self._head, 1)
        if "content-length" in headers and body:  # an answer to HEAD has no body
            headers["content-length"] = str(len(body))
        return body


class Answer:
    """One answer that is being sent. HTML is collected until it is complete.

    `change(headers, page)` changes the headers and returns the new page; `page` is None unless the answer is HTML.
    """

    def __init__(self, send: Send, change: Callable[[MutableHeaders, bytes | None], bytes]) -> None:
        self._send, self._change = send, change
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                self._start = message
                return
            self._change(headers, None)
            await self._send({**message, "headers": headers.raw})
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                headers = MutableHeaders(raw=list(self._start["headers"]))
                body = self._change(headers, self._body)
                await self._send({**self._start, "headers": headers.raw})
                await self._send({"type": "http.response.body", "body": body})
