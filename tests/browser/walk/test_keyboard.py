"""Clips by keyboard alone: the focus outlives cards that are made anew, and Escape closes only what it should."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general
from engine.request import GenerationRequest
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace
from rewards import Clip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def go(page: Page, bench: Any, tab: str) -> Locator:
    """The tab, opened; its cards."""
    page.goto(bench.address)
    page.get_by_role("tab", name=tab, exact=True).click()
    cards = page.locator("#generate-takes .card" if tab == general.GENERATE else "#library-grid .card")
    expect(cards.first).to_be_visible()
    return cards


def test_a_take_that_was_opened_keeps_the_focus(page: Page, furnished: Any) -> None:
    cards = go(page, furnished, general.GENERATE)
    second = cards.nth(1)
    second.locator(".thumb").focus()
    page.keyboard.press("Enter")
    opened = str(second.get_attribute("data-id"))
    page.wait_for_function(
        "id => document.querySelector('#generate-player [id^=html]').player.state.clips[0].id === id", arg=opened
    )
    expect(page.locator(f'#generate-takes .card.is-current[data-id="{opened}"] .thumb')).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(2).locator(".thumb")).to_be_focused()


def test_a_star_keeps_the_focus(page: Page, furnished: Any) -> None:
    star = go(page, furnished, general.LIBRARY).nth(2).locator(".star")
    star.focus()
    for pressed in ("true", "false"):
        page.keyboard.press("Enter")
        expect(star).to_have_attribute("aria-pressed", pressed)
        expect(star).to_be_focused()
    page.locator("#library-grid .thumb").first.press("Enter")
    action = page.locator("#library-facts [data-action=star_clip]")
    action.focus()
    for _ in range(2):
        before = action.inner_text()
        page.keyboard.press("Enter")
        expect(action).not_to_have_text(before)
        expect(action).to_be_focused()


def add_unused_clip(workspace: Workspace) -> str:
    """Add a clip that no campaign or job needs, and return its id."""
    request = GenerationRequest(prompt="a green square moving up", seed=1, num_frames=9)
    frames = np.zeros((9, 32, 32, 3), np.uint8)
    with closing(Library(workspace)) as store:
        save_clip(workspace, request.id, Clip(frames=frames, fps=8.0, prompt=request.prompt), request)
        store.add_clip(ClipRecord.generated(request))
    return request.id


def test_deleting_leads_to_undo_and_undo_to_the_clip(page: Page, furnished: Any) -> None:
    gone = add_unused_clip(furnished.workspace)
    cards = go(page, furnished, general.LIBRARY)
    count, card = cards.count(), page.locator(f'#library-grid .card[data-id="{gone}"]')
    card.locator(".thumb").focus()
    page.keyboard.press("x")
    page.keyboard.press("Delete")
    undo = page.locator("#library-grid [data-do=undo]")
    expect(undo).to_be_focused()
    page.keyboard.press("Enter")
    expect(cards).to_have_count(count)
    expect(card.locator(".thumb")).to_be_focused()
    page.keyboard.press("x")  # other tests of this workspace find it as they expect it
    page.keyboard.press("Delete")
    expect(cards).to_have_count(count - 1)


def test_escape_closes_a_clip_but_not_while_typing_or_choosing(page: Page, furnished: Any, watched: Any) -> None:
    cards = go(page, furnished, general.LIBRARY)
    cards.first.locator(".thumb").press("Enter")
    facts = page.locator("#library-facts .prompt")
    expect(facts).to_be_visible()
    page.locator("#search input, #search textarea").press("Escape")
    page.locator("#order input").click()
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    watched.requests.wait()  # closing asks the server
    expect(facts).to_be_visible()
    cards.first.locator(".pick input").press("Escape")
    expect(facts).to_have_count(0)
