"""Voting under an input method, another keyboard layout, a browser without site data, a proxy that answers itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from app.text import labelling as text

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# What a browser dispatches: `typed` is the element's own event, with what a person's keyboard says.
PRESS = """([selector, options]) => document.querySelector(selector).dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...options }))"""
NOTE = "#label-desk .note"
BODY = "body"


def press(page: Page, selector: str, **options: Any) -> None:
    page.evaluate(PRESS, [selector, options])


def test_an_input_methods_keys_neither_end_the_note_nor_vote(desk: Any, page: Page) -> None:
    desk.arrive()
    pair = desk.ready()
    page.keyboard.press("n")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        press(page, NOTE, key="Enter", code="Enter", **composing)
        press(page, NOTE, key="Escape", code="Escape", **composing)
        expect(page.locator(NOTE)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(NOTE)).not_to_be_focused()
    for composing in ({"isComposing": True}, {"keyCode": 229}):  # with the focus on the page
        for key, code in (("1", "Digit1"), ("x", "KeyX"), ("Process", "Digit2")):
            press(page, BODY, key=key, code=code, **composing)
    assert desk.ready() == pair
    desk.votes(0)


LAYOUTS = [
    ("ч", "KeyX", False, "skip"),  # Russian
    ("Ч", "KeyX", True, "skip"),
    ("&", "Digit1", False, "left"),  # AZERTY
    ("é", "Digit2", False, "right"),
    ("1", "Digit1", True, "left"),
    ("x", "KeyB", False, "skip"),  # Dvorak: what is printed on the key
    ("3", "Numpad3", False, "tie"),
]


def test_keys_vote_under_other_layouts(desk: Any, page: Page) -> None:
    desk.arrive()
    pair = desk.ready()
    for key, code, shift, _ in LAYOUTS:
        press(page, BODY, key=key, code=code, shiftKey=shift)
        pair = desk.ready(but=pair)
    assert [one.vote.choice for one in desk.votes(len(LAYOUTS))] == [choice for *_, choice in LAYOUTS]


def test_keys_that_mean_something_else_do_not_vote(desk: Any, page: Page) -> None:
    desk.arrive()
    pair = desk.ready()
    for key, code, shift in (("!", "Digit1", True), ("q", "KeyX", False), ("b", "Digit2", False), (";", "KeyX", False)):
        press(page, BODY, key=key, code=code, shiftKey=shift)
    assert desk.ready() == pair
    desk.votes(0)


BLOCKED = """for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, { get() { throw new DOMException("blocked", "SecurityError"); } });"""
FULL = """Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };"""


@pytest.mark.parametrize("script", [BLOCKED, FULL])
def test_voting_goes_on_without_site_data_and_says_so(desk: Any, page: Page, script: str) -> None:
    page.add_init_script(script)
    desk.arrive()
    pair = desk.ready()
    notice = page.locator("#label-desk .notice")
    page.keyboard.press("1")
    expect(notice).to_have_text(text.DESK_WORDS["not_kept"])
    second = desk.ready(but=pair)
    page.keyboard.press("2")
    third = desk.ready(but=second)
    page.keyboard.press("u")
    assert desk.ready(but=third) == second
    expect(page.locator("#label-desk .place")).to_contain_text("1 voted")
    found = desk.campaigns.votes(desk.campaign, history=True)
    assert [(one.vote.choice, one.ended_as) for one in found] == [("left", None), ("right", "undone")]


FOREIGN: list[tuple[int, dict[str, Any] | None]] = [
    (429, {"detail": "Too many requests"}),
    (404, {"problem": "no such upstream"}),
    (403, {"problem": "forbidden"}),
    (409, {"problem": "conflict"}),
    (422, {"detail": []}),
    (200, {"ok": True}),
    (200, None),
    (502, None),
]


def answering(status: int, body: dict[str, Any] | None, sent: list[str]) -> Callable[[Route], None]:
    """A proxy that answers by itself, and keeps in `sent` what it was sent."""

    def proxy(route: Route) -> None:
        sent.append(route.request.post_data or "")
        content = "<html>Please log in</html>" if body is None else json.dumps(body)
        kind = "text/html" if body is None else "application/json"
        route.fulfill(status=status, body=content, headers={"content-type": kind})

    return proxy


def test_an_answer_that_is_not_ours_drops_no_vote(desk: Any, page: Page, watched: Any) -> None:
    desk.arrive()
    notice = page.locator("#label-desk .notice")
    for count, (status, body) in enumerate(FOREIGN, 1):
        sent: list[str] = []
        proxy = answering(status, body, sent)
        page.route("**/voting/vote", proxy)
        with watched.expecting(rf"status of {status}"):
            desk.prefer()
            expect(notice).to_contain_text("1 vote is stored in this browser")
            page.unroute("**/voting/vote", proxy)
            desk.sent()
        expect(notice).to_be_hidden()
        vote = desk.votes(count)[-1]
        assert desk.is_right(vote) and vote.vote.client_uuid in sent[0], (status, body)


def test_an_undo_whose_answer_is_lost_withdraws_one_vote(desk: Any, page: Page, watched: Any) -> None:
    desk.arrive()
    for _ in range(2):
        desk.prefer()
    desk.prefer()
    desk.sent()
    lost = []

    def lose(route: Route) -> None:
        lost.append(route.fetch())  # the server does it, and the browser never hears of it
        route.abort()

    page.route("**/voting/undo", lose, times=1)
    before = desk.ready()
    with watched.expecting("net::ERR_FAILED"):
        page.keyboard.press("u")
        desk.ready(but=before)
    assert len(lost) == 1
    assert [one.ended_as for one in desk.votes(2)] == [None, None, "undone"]


def test_a_request_to_gradio_whose_answer_is_lost_is_sent_again_and_done_once(
    page: Page, bench: Any, campaigns: Any, watched: Any
) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    page.get_by_role("tab", name=text.NEW, exact=True).click()
    page.locator("#campaign-title input, #campaign-title textarea").fill("Asked for twice")
    page.get_by_label(text.WHAT_CLIPS).check()
    expect(page.locator("#campaign-which")).to_be_visible()
    keys: list[str] = []

    def lose(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()  # the server does it, and the browser never hears of it
            route.abort()
        else:
            route.fallback()

    page.route("**/queue/join*", lose)
    with watched.expecting("net::ERR_FAILED"):
        page.locator("#create-campaign").click()
        expect(page.get_by_role("tab", name=text.VOTE, exact=True)).to_have_attribute("aria-selected", "true")
    page.unroute("**/queue/join*", lose)
    assert keys[0] == keys[1]
    assert [one.title for one in campaigns.list()].count("Asked for twice") == 1
