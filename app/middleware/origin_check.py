"""Check of Host, Origin and Fetch Metadata before every route, against cross-site requests.

A browser sends cookies, and reaches loopback addresses, on behalf of any page that it shows. Without this check a
foreign page could act here (cross-site request forgery), and one whose host name resolves to this machine could also
read the answers (DNS rebinding). The policy is the resource isolation policy of the W3C's Fetch Metadata draft, with
Origin for browsers and addresses that send no Fetch Metadata.
"""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.text import access
from engine.errors import ConfigError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
READS = ("GET", "HEAD")
CHANGING_GETS = frozenset({"/logout"})
OWN_SITES = ("same-origin", "none")  # "none": the person typed the address or used a bookmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Addresses under which the page is served.

    `host` is the address that the server listens on. `public_url` has scheme, host and port that browsers use, "" if
    they connect directly. `proxies` are the addresses whose forwarding headers are trusted.
    """

    host: str = "127.0.0.1"
    public_url: str = ""
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError if `public_url` has a path or is not a URL, or if a proxy is not an address."""
        if self.public_url:
            check_public_url(self.public_url)
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ConfigError(access.BAD_PROXY.format(proxy=proxy[:60])) from error

    @property
    def public_host(self) -> str:
        """Host and port of `public_url`, as a browser sends them; "" without one."""
        return urlsplit(self.public_url).netloc.lower()

    @property
    def public_origin(self) -> str:
        return self.public_url.rstrip("/").lower()

    def names(self, *, has_login: bool) -> frozenset[str]:
        """Return the accepted host names, without ports."""
        own = {name_of(self.public_host), self.host.lower()} - {""}
        machine = {socket.gethostname().lower()} if has_login and not self.public_url else set()
        return LOOPBACK | own | machine


def check_public_url(url: str) -> None:
    """Check that a URL has the form `https://host` or `http://host:port`. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(access.BAD_PUBLIC_URL.format(url=url[:100]))
    if parts.path not in ("", "/"):
        raise ConfigError(access.SUB_PATH.format(url=url[:100], path=parts.path[:60]))


def name_of(host: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case; "" if it is invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class SameOrigin:
    """ASGI middleware that answers 403 to cross-site requests and to unknown host names."""

    def __init__(self, app: ASGIApp, *, reach: Reach, has_login: bool) -> None:
        self.app, self.reach = app, reach
        self._names = reach.names(has_login=has_login)
        # DNS rebinding needs a name: with a login and no public URL, any IP address of this machine is accepted.
        self._any_address = has_login and not reach.public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = "" if scope["type"] == "lifespan" else self.problem(HTTPConnection(scope))
        if not problem:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await JSONResponse({"problem": problem}, 403)(scope, receive, send)

    def problem(self, connection: HTTPConnection) -> str:
        """Return why a request is refused, "" if it is accepted."""
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(name_of(hosts[0])):
            return access.UNKNOWN_HOST
        origin = connection.headers.get("origin")
        if origin is not None and origin.lower() not in self._origins(connection, hosts[0]):
            return access.FOREIGN_ORIGIN
        site = connection.headers.get("sec-fetch-site", "none")
        if site not in OWN_SITES and not is_link(connection):
            return access.FOREIGN_ORIGIN
        return ""

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._any_address and is_address(name))

    def _origins(self, connection: HTTPConnection, host: str) -> set[str]:
        scheme = connection.scope.get("scheme", "http").replace("ws", "http")
        return {f"{scheme}://{host.lower()}", self.reach.public_origin} - {""}


def is_link(connection: HTTPConnection) -> bool:
    """Return True for a navigation by a link to a page that has no side effects."""
    scope, headers = connection.scope, connection.headers
    if scope["type"] != "http" or scope["method"] not in READS or scope["path"] in CHANGING_GETS:
        return False
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
