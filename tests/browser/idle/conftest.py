"""A workbench whose jobs nobody but the test takes, and a server that a test can keep from answering."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from engine.jobs.queue import JobQueue
from engine.jobs.spec import ACTIVE
from engine.storage.library import Library

CALLS = "**/component_server/"
AWAY = "net::ERR_FAILED|Could not connect"  # what is complained of where nobody answers


@pytest.fixture
def jobs(idle: Any) -> Iterator[JobQueue]:
    """Its queue, with nothing under way after each test."""
    store = Library(idle.workspace)
    queue = JobQueue(store)
    yield queue
    for job in queue.list(("queued", *ACTIVE)):
        queue.cancel(job.id)
        queue.finish(job.id, "cancelled")
    store.close()


@pytest.fixture
def held_calls(page: Page) -> Callable[[str], AbstractContextManager[list[Route]]]:
    """`with held_calls("open") as waiting`: what components ask of that function of the server waits there."""

    @contextmanager
    def hold(name: str) -> Iterator[list[Route]]:
        waiting: list[Route] = []

        def take(route: Route) -> None:
            if route.request.post_data_json["fn_name"] == name:
                waiting.append(route)
            else:
                route.fallback()

        page.route(CALLS, take)
        yield waiting
        page.unroute(CALLS, take)

    return hold


@pytest.fixture
def server_away(page: Page, watched: Any) -> Callable[[], AbstractContextManager[None]]:
    """`with server_away()`: no function of the server answers meanwhile."""

    @contextmanager
    def away() -> Iterator[None]:
        def refuse(route: Route) -> None:
            route.abort()

        with watched.expecting(AWAY) as said:
            page.route(CALLS, refuse)
            yield
            page.unroute(CALLS, refuse)
        assert said

    return away


@pytest.fixture
def problem_of(page: Page) -> Callable[[str, str], AbstractContextManager[None]]:
    """`with problem_of("news", sentence)`: that function of every component answers with the sentence meanwhile."""

    @contextmanager
    def answer(name: str, sentence: str) -> Iterator[None]:
        def tell(route: Route) -> None:
            if route.request.post_data_json["fn_name"] == name:
                route.fulfill(json={"problem": sentence})
            else:
                route.fallback()

        page.route(CALLS, tell)
        yield
        page.unroute(CALLS, tell)

    return answer
