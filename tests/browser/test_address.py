"""Where the page is: its address follows the tabs and comes back to them; clips have links, copied on any host."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general, system, training
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def at(page: Page, tab: str) -> None:
    expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")


def go(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    at(page, tab)


def first_clip(archive: Any) -> Any:
    store = Library(archive.workspace)
    clip = store.clips()[-1]
    store.close()
    return clip


def test_a_reload_comes_back_to_the_tab(page: Page, archive: Any, watched: Any) -> None:
    page.goto(f"{archive.address}?__theme=dark")
    go(page, training.TRAIN)
    expect(page).to_have_url(f"{archive.address}?__theme=dark&tab=train")
    with watched.leaving():
        page.reload()
    at(page, training.TRAIN)
    go(page, general.GENERATE)
    expect(page).to_have_url(f"{archive.address}?__theme=dark&tab=generate")


def test_back_and_forward_go_through_the_tabs(page: Page, archive: Any) -> None:
    page.goto(archive.address)
    go(page, training.TRAIN)
    go(page, system.SYSTEM)
    expect(page).to_have_url(re.compile("tab=system"))
    page.go_back()
    at(page, training.TRAIN)
    page.go_back()
    at(page, general.GENERATE)
    page.go_forward()
    at(page, training.TRAIN)
    expect(page).to_have_url(re.compile("tab=train"))


def test_a_tab_has_an_address_and_nonsense_is_where_the_page_begins(page: Page, archive: Any, watched: Any) -> None:
    page.goto(f"{archive.address}?tab=system")
    at(page, system.SYSTEM)
    expect(page.locator("#system-telemetry .device").first).to_be_visible()
    with watched.leaving():
        page.goto(f"{archive.address}?tab=nonsense")
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))
    at(page, general.GENERATE)


def test_a_permalink_stays_until_another_tab_is_opened(page: Page, archive: Any, watched: Any) -> None:
    clip = first_clip(archive)
    page.goto(f"{archive.address}clip/{clip.id}")
    expect(page.locator("#library-facts .prompt")).to_have_text(clip.prompt)
    expect(page).to_have_url(f"{archive.address}?clip={clip.id}&tab=library")
    with watched.leaving():
        page.reload()
    expect(page.locator("#library-facts .prompt")).to_have_text(clip.prompt)
    go(page, general.SCORE)
    expect(page).to_have_url(f"{archive.address}?tab=score")


@pytest.mark.parametrize("works", [True, False])
def test_a_link_is_copied_on_a_host_without_a_clipboard(page: Page, archive: Any, works: bool) -> None:
    """As over plain HTTP: and where not even the old way works, that is said."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    if not works:
        page.add_init_script("document.execCommand = () => false")
    page.goto(f"{archive.address}?tab=score")
    page.locator("#score-table td.clip a").first.click()
    facts = page.locator("#score-facts")
    link = facts.get_by_role("link", name=general.FACTS_WORDS["permalink"])
    expect(link).to_have_attribute("href", re.compile(r"^/clip/[0-9a-f]{16}$"))
    copy = facts.locator("[data-do=copy]")
    copy.click()
    expect(copy).to_have_text(general.COPY_WORDS["done" if works else "failed"])
    expect(page.locator("#dailies-voice")).to_have_text(general.COPY_WORDS["done" if works else "failed"])
    if works:
        page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), { id: 'pasted' }))")
        page.locator("#pasted").press("ControlOrMeta+V")
        expect(page.locator("#pasted")).to_have_value(link.evaluate("link => link.href"))
    with page.expect_download() as download:
        facts.get_by_role("link", name=general.FACTS_WORDS["mp4"]).click()
    assert download.value.suggested_filename == "clip.mp4"
