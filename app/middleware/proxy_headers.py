"""Forwarding headers of a reverse proxy: the browser's address, scheme and host.

Any client can send such headers, so they are used only from the addresses named by `--proxy` and removed from all other
requests. Gradio reads some of them itself to build the page's address: after this middleware only Host is left.
"""

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.middleware.origin_check import Reach

FORWARDED = (b"forwarded", b"x-gradio-server", b"x-original-url", b"x-rewrite-url")


class ForwardedHeaders:
    """ASGI middleware for forwarding headers; only the security headers are outside of it."""

    def __init__(self, app: ASGIApp, *, reach: Reach) -> None:
        self.app = app
        self._public_host = reach.public_host
        self._networks = [ipaddress.ip_network(proxy) for proxy in reach.proxies]
        # The browser's address is the last one in X-Forwarded-For that is not a trusted proxy.
        self._trusting = ProxyHeadersMiddleware(self._without_headers, list(reach.proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif self._is_proxy(scope):
            await self._trusting({**scope, "headers": self._with_host(scope)}, receive, send)  # type: ignore[arg-type]
        else:
            await self._without_headers(scope, receive, send)

    def _is_proxy(self, scope: Scope) -> bool:
        try:
            address = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def _with_host(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers with the host that the browser used: the forwarded one, else the public one."""
        headers = list(scope["headers"])
        forwarded_hosts = [value for name, value in headers if name == b"x-forwarded-host"]
        forwarded = any(name == b"x-forwarded-for" for name, _ in headers)
        host = (
            forwarded_hosts[0].split(b",")[0].strip()
            if forwarded_hosts
            else self._public_host.encode()
            if forwarded
            else b""
        )
        return [*((n, v) for n, v in headers if n != b"host"), (b"host", host)] if host else headers

    async def _without_headers(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(n, v) for n, v in scope["headers"] if not n.startswith(b"x-forwarded-") and n not in FORWARDED]
        await self.app({**scope, "headers": kept}, receive, send)
