"""Streams of a session that are aborted and opened again, on Gradio's own server behind a socket."""

import asyncio
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.routing import Mount

from app.middleware.event_streams import EventStreams

SESSION = "abc"
GRACE_S = 0.3
PATIENCE_S = 20.0


@dataclass
class Served:
    """A page with one event, which ends when `end` is set."""

    page: gr.Blocks
    address: str
    end: threading.Event

    def join(self) -> str:
        body = {"data": [], "fn_index": 0, "trigger_id": None, "event_data": None, "session_hash": SESSION}
        answer = httpx.post(f"{self.address}/gradio_api/queue/join", json=body)
        return str(answer.raise_for_status().json()["event_id"])

    def messages(self, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Messages of a new stream up to the first one for which `until` holds; the client then aborts it."""
        found: list[dict[str, Any]] = []
        url = f"{self.address}/gradio_api/queue/data?session_hash={SESSION}"
        with httpx.stream("GET", url, timeout=PATIENCE_S) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line[6:]))
                    if until(found[-1]):
                        break
        return found


def has_begun(message: dict[str, Any]) -> bool:
    return bool(message["msg"] == "process_starts")


def has_ended(message: dict[str, Any]) -> bool:
    return bool(message["msg"] in ("process_completed", "unexpected_error", "close_stream"))


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def served() -> Iterator[Served]:
    found: queue.Queue[Served] = queue.Queue()
    end, stop = threading.Event(), threading.Event()

    def event() -> str:
        return "ended" if end.wait(PATIENCE_S) else "not ended"

    async def serve() -> None:
        with gr.Blocks(analytics_enabled=False) as page:
            page.load(event, None, gr.Textbox())
        server = FastAPI()
        gr.mount_gradio_app(server, page, path="/")
        mounted: Any = next(route.app for route in server.routes if isinstance(route, Mount))
        mounted.add_middleware(EventStreams, page=page, grace_s=GRACE_S)
        web = uvicorn.Server(uvicorn.Config(server, log_level="warning"))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            found.put(Served(page, f"http://127.0.0.1:{listening.getsockname()[1]}", end))
            serving = asyncio.create_task(web.serve(sockets=[listening]))
            while not stop.is_set():
                await asyncio.sleep(0.02)
            web.should_exit = True
            await serving

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        yield found.get(timeout=PATIENCE_S)
    finally:
        end.set()
        stop.set()
        thread.join()


def test_an_aborted_stream_leaves_its_event_to_the_next_one(served: Served) -> None:
    """Also long after the stream was aborted."""
    event = served.join()
    served.messages(has_begun)
    last = threading.Timer(2 * GRACE_S, served.end.set)
    last.start()
    found = served.messages(has_ended)[-1]
    last.join()
    assert found["msg"] == "process_completed" and found["event_id"] == event
    assert found["output"]["data"] == ["ended"]


def test_a_message_between_two_streams_is_kept(served: Served) -> None:
    served.join()
    served.messages(has_begun)
    served.end.set()
    wait_until(lambda: not any(served.page._queue.active_jobs))
    assert served.messages(has_ended)[-1]["output"]["data"] == ["ended"]


def test_events_of_a_page_that_was_left_are_dropped(served: Served) -> None:
    """One runs, one waits; a later stream finds no session."""
    events = served.page._queue
    served.join(), served.join()
    served.messages(has_begun)
    wait_until(lambda: SESSION not in events.pending_messages_per_session and len(events) == 0)
    assert [job.alive for jobs in events.active_jobs if jobs for job in jobs] == [False]
    assert served.messages(has_ended)[-1]["msg"] == "unexpected_error"
