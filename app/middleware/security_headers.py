"""Security headers of every answer, and the Content-Security-Policy of pages.

A page's inline scripts are Gradio's and those of `app.modules.page_head`. Their hashes are put into its policy; no
other inline script runs. Gradio makes functions from text (templates and `js_on_load`), which takes 'unsafe-eval';
styles are set inline throughout. Everything comes from this server.
"""

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.page_head import Answer

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CLOSED = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; manifest-src 'self'; form-action 'self'; "
    "base-uri 'self'; frame-ancestors 'none'; object-src 'none'"
)
SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


class SafeHeaders:
    """ASGI middleware. An HTML page is buffered until it is complete, since its policy must precede it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.app(uncompressed(scope), receive, Answer(send, secure).send)


def secure(headers: MutableHeaders, page: bytes | None) -> bytes:
    """Add the headers of an answer, with the policy of its `page` if it is one; the page stays as it is."""
    headers.update(SAFE)
    if page is None:
        headers.setdefault("Content-Security-Policy", CLOSED)
    else:
        headers["Content-Security-Policy"] = PAGE.format(scripts=" ".join(hashes(page)))
    return page or b""


def hashes(page: bytes) -> Iterable[str]:
    """Yield the policy sources that allow a page's inline scripts."""
    for script in SCRIPT.finditer(page):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(script[1]).digest()).decode()}'"


def uncompressed(scope: Scope) -> Scope:
    """Remove Accept-Encoding from requests for pages, so that their scripts can be read."""
    headers = list(scope["headers"])
    wants_page = any(name == b"accept" and b"text/html" in value for name, value in headers)
    return {**scope, "headers": [(n, v) for n, v in headers if n != b"accept-encoding"]} if wants_page else scope
