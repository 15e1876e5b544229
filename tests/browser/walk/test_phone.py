"""A phone: what one does in Generate, Label, Monitor and the queue can be done there, without scrolling sideways."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.text import general, jobs, labelling
from tests.browser.walk.conftest import PHONE, Walker
from tests.browser.walk.test_look import WIDE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def phone(browser: Browser, watched: Any, furnished: Any) -> Iterator[Walker]:
    context = browser.new_context(**PHONE.context)
    context.set_default_timeout(120_000)
    page = context.new_page()
    watched.watch(page)
    yield Walker(page, furnished, False, watched)
    with watched.leaving():
        context.close()


def in_reach(page: Page, target: Locator) -> None:
    """A finger can tap it once it is scrolled to, and the page is no wider than the phone."""
    expect(target).to_be_visible()
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE.width, box
    target.tap(trial=True)
    assert not page.evaluate(WIDE)


def test_clips_are_generated_and_chosen(phone: Walker) -> None:
    phone.go("generate")
    page = phone.page
    for target in ("#prompt textarea", "#model input", "#frames input[type=number]", "#seed input, #seed textarea"):
        in_reach(page, page.locator(target).first)
    page.get_by_text(general.MORE).tap()
    for target in ("#width input", "#steps input[type=number]", "#mix input"):
        in_reach(page, page.locator(target))
    page.locator("#prompt textarea").fill("")
    page.locator("#generate").tap()
    expect(page.locator("#generate-problem [role=alert]")).to_be_visible()
    cards = page.locator("#generate-takes .card")
    for target in (
        cards.nth(1).locator(".thumb"),
        cards.nth(1).locator("input"),
        page.locator("#generate-player .play"),
    ):
        in_reach(page, target)


def test_pairs_are_voted_on(phone: Walker) -> None:
    phone.go("vote")
    votes = phone.page.locator("#label-desk [data-vote]")
    expect(votes).to_have_count(5)
    for vote in votes.all():
        in_reach(phone.page, vote)
    views = [labelling.RESULTS, labelling.CAMPAIGNS, labelling.NEW]
    for name in views:
        in_reach(phone.page, phone.page.get_by_role("tab", name=name, exact=True))


def test_a_run_is_looked_at(phone: Walker) -> None:
    phone.go("monitor")
    page = phone.page
    for name in ("curves", "samples", "evaluation", "curriculum"):
        view = page.locator(f'#monitor-curves button[data-view="{name}"]')
        in_reach(page, view)
        view.tap()
        assert not page.evaluate(WIDE), name


def test_the_queue_is_read_and_ordered(phone: Walker) -> None:
    page = phone.page
    page.goto(phone.bench.address)
    badge = page.locator("#queue .badge")
    in_reach(page, badge)
    badge.tap()
    drawer = page.locator("#queue")
    for name in (jobs.QUEUE_WORDS["close"], jobs.QUEUE_WORDS["resume"], jobs.QUEUE_WORDS["cancel_pending"]):
        in_reach(page, drawer.get_by_role("button", name=name, exact=True))
    in_reach(page, drawer.locator(".jobs .job").first.get_by_role("button", name=jobs.QUEUE_WORDS["cancel"]))
    in_reach(page, drawer.locator(".ended .job").first.get_by_role("button", name=jobs.QUEUE_WORDS["retry"]))
