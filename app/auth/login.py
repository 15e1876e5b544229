"""Access control: `AuthMiddleware` precedes every route, including Gradio's, media and votes.

A researcher may use everything. A labeller may use the voting page and the routes listed in `OF_LABELLERS`; all other
routes, including future ones, are closed to labellers.
"""

import html
import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.rate_limit import LoginRateLimiter
from app.auth.users import SESSION_S, User, Users
from app.middleware.body_limits import taken
from app.middleware.thread_pools import Pool
from app.text import access
from engine.errors import DailiesError

COOKIE = "dailies_session"
COOKIE_RULES: Mapping[str, Any] = {"httponly": True, "samesite": "lax", "path": "/"}
LABEL_PAGE, ICON = "/label/", "/favicon.ico"
BODY_LIMIT = 8192  # bytes of a login form
MEDIA = re.compile(r"/voting/clip/([0-9]{1,9})/(?:left|right)\.mp4")  # does not contain the clip's id
# The voting page has no Gradio events: it needs its own files, modules and config, no uploads and no queue.
OF_LABELLERS = re.compile(
    r"/label/?|/label/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static|svelte)/[\w./@-]+"
    r"|gradio_api/(?:info|startup-events|app_id|(?:assets|static)/[\w./@-]+))|/voting/(?:me|next|vote|undo|mine|edit)|/modules/[\w./-]+"
)
HASHES_AT_ONCE, HASHES_WAITING = 2, 16  # a password hash takes 0.2 s and 32 MiB
HERE = Path(__file__).parent
Given = Callable[[str, str], bool]
"""`given(labeller, assignment)` returns True if the assignment of this number is the labeller's."""


def user_of(scope: Scope) -> User | None:
    """Return the authenticated user, None without a login."""
    return scope.get("dailies_user")


log = logging.getLogger(__name__)


class AuthMiddleware:
    """ASGI middleware for authentication. `given` decides on a labeller's access to single clips."""

    def __init__(self, app: ASGIApp, *, users: Users, given: Given) -> None:
        self.app, self.users, self.given = app, users, given
        self.lockout = LoginRateLimiter()
        self._hashing = 0
        self._looks, self._hashes = Pool("who", 8), Pool("password", HASHES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        user = await self._looks.run(self._user, HTTPConnection(scope))
        refusal = await self._answer(scope, receive, user)
        if refusal is None:
            await self.app({**scope, "dailies_user": user}, receive, _private(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _user(self, connection: HTTPConnection) -> User | None:
        return self.users.user_of(connection.cookies.get(COOKIE, ""))

    async def _answer(self, scope: Scope, receive: Receive, user: User | None) -> Response | None:
        """Return the answer to an unauthorised request or to a login; None if the request may pass."""
        path = scope["path"]
        if path == "/login" and scope["type"] == "http":
            return await self._login(Request(scope, receive))
        if path == "/logout" and scope["type"] == "http":
            return await self._logout(HTTPConnection(scope))
        if path == ICON and (user is None or user.role != "researcher"):
            return Response(status_code=204)  # browsers request it on the login form too
        if user is None:
            return _who_are_you(scope)
        if user.role == "researcher" or await self._looks.run(self._may, user, path):
            return None
        return RedirectResponse(LABEL_PAGE, 303) if path == "/" else _say(access.NOT_YOURS, 403)

    async def _logout(self, connection: HTTPConnection) -> Response:
        """End the session in the browser, and report when the server cannot record its end."""
        try:
            await self._looks.run(self.users.end, connection.cookies.get(COOKIE, ""))
        except DailiesError as error:
            log.warning("A session could not be ended: %s", error)
            reply = _form(access.NOT_ENDED, "", 503)
        else:
            reply = RedirectResponse("/login", 303)
        reply.delete_cookie(COOKIE, **COOKIE_RULES)
        return reply

    def _may(self, user: User, path: str) -> bool:
        if clip := MEDIA.fullmatch(path):
            return self.given(user.name, clip[1])
        return OF_LABELLERS.fullmatch(path) is not None and ".." not in path

    async def _login(self, request: Request) -> Response:
        """Handle the login form, its submission, or a link with a token (see `dailies users link`)."""
        if request.method == "POST":
            return await self._typed(request)
        if token := request.query_params.get("link"):
            user, known = await self._looks.run(self._of_link, token, request)
            if user and known and known.name != user.name:  # a link that another person sent
                return _question(known.name, user.name, token)
            return self._welcome(request, user, "") if user else _form(access.OLD_LINK, "", 403)
        return _form("", request.query_params.get("next", ""))

    async def _typed(self, request: Request) -> Response:
        body = await taken(request.scope, request.receive, BODY_LIMIT)
        if isinstance(body, Response):
            return body
        fields = parse_qs(body.decode("utf-8", "replace"))
        name, password, target, token = (fields.get(key, [""])[0] for key in ("name", "password", "next", "link"))
        if token:
            user, _ = await self._looks.run(self._of_link, token, request)
            return self._welcome(request, user, "") if user else _form(access.OLD_LINK, "", 403)
        address = request.client.host if request.client else ""
        if self._hashing >= HASHES_WAITING:
            return _busy(target)
        if wait_s := self.lockout.admit(name, address):
            return _wait(wait_s, target)
        self._hashing += 1
        try:
            user = await self._hashes.run(self.users.check, name, password)
        finally:
            self._hashing -= 1
        if user is None:
            return _form(access.WRONG, target, 403)
        self.lockout.succeeded(name, address)
        return self._welcome(request, user, target)

    def _of_link(self, token: str, connection: HTTPConnection) -> tuple[User | None, User | None]:
        """Return the user of a login link, and the one who is logged in."""
        return self.users.user_of(token, "link"), self._user(connection)

    def _welcome(self, request: Request, user: User, target: str) -> Response:
        inside = target if re.fullmatch(r"/(?![/\\])[\w./?=&%-]*", target) else "/"  # never to another host
        reply = RedirectResponse(LABEL_PAGE if user.role == "labeller" else inside, 303)
        token = self.users.token(user.name)
        reply.set_cookie(COOKIE, token, max_age=SESSION_S, secure=is_https(request), **COOKIE_RULES)
        return reply


def _who_are_you(scope: Scope) -> Response:
    """Redirect a browser to the login form; answer 401 to a script."""
    wants_page = "text/html" in HTTPConnection(scope).headers.get("accept", "")
    if scope["type"] == "http" and scope["method"] == "GET" and wants_page:
        return RedirectResponse(f"/login?next={quote(_asked(scope), safe='')}", 303)
    return _say(access.LOG_IN, 401)


def _asked(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])


def is_https(connection: HTTPConnection) -> bool:
    """Return True for HTTPS, to this server or to a proxy trusted by `app.middleware.proxy_headers`."""
    return connection.scope.get("scheme") == "https"


def _busy(target: str) -> Response:
    reply = _form(access.BUSY, target, 503)
    reply.headers["Retry-After"] = "5"
    return reply


def _wait(seconds: float, target: str) -> Response:
    reply = _form(access.too_many(seconds), target, 429)
    reply.headers["Retry-After"] = str(math.ceil(seconds))
    return reply


def _say(sentence: str, status: int) -> Response:
    return JSONResponse({"problem": sentence}, status)


def _form(problem: str, target: str, status: int = 200) -> Response:
    return _page("login.html", {**access.FORM, "problem": problem, "next": target}, status)


def _question(known: str, other: str, token: str) -> Response:
    """Return the question whether a login link shall replace the session of a user."""
    return _page("other_user.html", {**access.other_user(known, other), "link": token}, 200)


def _page(file: str, words: Mapping[str, str], status: int) -> Response:
    style = (HERE / "login.css").read_text(encoding="utf-8")
    page = (HERE / file).read_text(encoding="utf-8").replace("<style></style>", f"<style>\n{style}</style>")
    for name, value in words.items():
        page = page.replace(f"{{{{words.{name}}}}}", html.escape(value, quote=True))
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})


def _private(send: Send) -> Send:
    """Wrap `send` so that shared caches do not store answers for logged-in users."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message["headers"]}
            if b"cache-control" not in named:
                message["headers"] = [*message["headers"], (b"cache-control", b"private, no-cache")]
        await send(message)

    return marked
