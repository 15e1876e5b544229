"""Trackio's dashboard below the page: for reading only, and never in the way of the page."""

import asyncio
import threading
from typing import Any

from app.trackio_dashboard import Dashboard, reads_only
from engine.workspace import Workspace


def test_a_slow_answer_of_trackio_delays_nobody(workspace: Workspace) -> None:
    release, sent = threading.Event(), list[Any]()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        assert release.wait(20), "the page's loop does not go on"
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def page() -> None:
        dashboard = Dashboard(workspace)
        dashboard._app = slow
        answer = asyncio.create_task(dashboard({"type": "http"}, None, send))
        await asyncio.to_thread(lambda: None)
        assert not answer.done()
        release.set()
        await answer

    asyncio.run(page())
    assert sent == [{"type": "http.response.body"}]


def test_trackio_is_for_looking() -> None:
    assert all(reads_only("GET", path) for path in ("", "assets/x.js", "api_docs"))
    assert all(reads_only("POST", f"api/{name}") for name in ("get_logs", "list_artifacts"))
    for name in (
        "query_project",
        "delete_run",
        "rename_run",
        "bulk_log",
        "log",
        "upload",
        "force_sync",
        "get_registries",
        "get_logs/../x",
    ):
        assert not reads_only("POST", f"api/{name}"), name
    assert not reads_only("GET", "file") and not reads_only("DELETE", "api/get_logs")
    assert not reads_only("GET", "oauth/logout") and not reads_only("POST", "index.html")
