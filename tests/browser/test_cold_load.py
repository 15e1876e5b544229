"""What is shown before the server's first answer: that it loads, and nothing that may turn out wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from app.text import labelling, training

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

EVENTS = "**/queue/join*"


@contextmanager
def held_events(page: Page) -> Iterator[None]:
    """Gradio's events wait, and are handed on at the end."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route(EVENTS, hold)
    yield
    assert waiting, "the page asked for something"
    for route in waiting:
        route.continue_()
    page.unroute(EVENTS)


def test_train_shows_no_form_and_no_empty_list_before_the_first_answer(page: Page, idle: Any) -> None:
    page.goto(idle.address)
    form, runs = page.locator("#train-form"), page.locator("#train-board")
    with held_events(page):
        page.get_by_role("tab", name=training.TRAIN, exact=True).click()
        expect(form.locator(".loading")).to_have_text(training.FORM_WORDS["loading"])
        expect(form.locator("select:visible, input:visible, button:visible")).to_have_count(0)
        expect(runs.locator(".runs h3")).to_be_visible()
        expect(runs.locator(".empty")).to_be_hidden()
    expect(form.locator('[data-do="queue"]')).to_be_enabled()
    expect(form.locator(".loading")).to_be_hidden()
    expect(runs.locator(".empty")).to_be_visible()


def test_results_load_before_they_are_said_to_be_empty(page: Page, idle: Any) -> None:
    page.goto(f"{idle.address}?tab=label")
    page.get_by_role("tab", name=labelling.LABEL, exact=True).click()
    expect(page.locator("#label-desk")).to_be_visible()
    sheet = page.locator("#label-sheet")
    with held_events(page):
        page.get_by_role("tab", name=labelling.RESULTS, exact=True).click()
        expect(sheet.locator(".loading")).to_be_visible()
        expect(sheet.locator(".empty")).to_be_hidden()
    expect(sheet.locator(".empty h3")).to_have_text(labelling.NO_RESULTS[0])
    expect(sheet.locator(".loading")).to_be_hidden()
