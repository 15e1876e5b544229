"""Event streams that a browser closes and opens again.

Gradio's client may abort a stream that it has just opened, and open the next one at once. Gradio's server takes the
aborted stream for a page that was left: it drops the messages and events of the session, so that the page waits for
them forever. Here they are dropped when no stream of the session was opened again within a few seconds.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Receive, Scope, Send

STREAM = "/gradio_api/queue/data"
GRACE_S = 5.0


class Stream:
    """A stream of a session: the queue of its messages, whether it is open, and whether a removal waits for it."""

    def __init__(self, messages: Any) -> None:
        self.messages, self.is_open, self.is_closing = messages, True, False


class EventStreams:
    """ASGI middleware around one mounted page. Replaces `clean_events` of the page's queue, a private method."""

    def __init__(self, app: ASGIApp, *, page: gr.Blocks, grace_s: float = GRACE_S) -> None:
        self.app, self._grace_s = app, grace_s
        self._queue: Any = page._queue
        self._clean = self._queue.clean_events
        self._queue.clean_events = self._clean_events
        self._latest: dict[str, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or get_route_path(scope) != STREAM:
            await self.app(scope, receive, send)
            return
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        messages = self._queue.pending_messages_per_session.get(session)
        if messages is None:
            await self.app(scope, receive, send)  # answers that there is no such session
            return
        stream = self._latest[session] = Stream(messages)
        try:
            await self.app(scope, receive, send)
        finally:
            stream.is_open = False
            if self._latest.get(session) is stream and not stream.is_closing:
                del self._latest[session]

    async def _clean_events(self, *, session_hash: str | None = None, event_id: str | None = None) -> None:
        """Drop the event `event_id` at once, and the events of a session later, unless it has a new stream by then."""
        latest = self._latest.get(session_hash or "")
        if session_hash is None or latest is None:
            await self._clean(session_hash=session_hash, event_id=event_id)
            return
        # Gradio has just deleted the queue of a cancelled stream; what it holds belongs to the next one.
        self._queue.pending_messages_per_session.setdefault(session_hash, latest.messages)
        latest.is_closing = True
        task = asyncio.create_task(self._clean_later(session_hash, latest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clean_later(self, session: str, latest: Stream) -> None:
        await asyncio.sleep(self._grace_s)
        latest.is_closing = False
        if self._latest.get(session) is latest and not latest.is_open:
            del self._latest[session]
            self._queue.pending_messages_per_session.pop(session, None)
            await self._clean(session_hash=session)
