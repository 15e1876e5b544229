"""What a new user meets first: models that are not installed, plots that fit, clips that can be told apart."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general
from engine.request import GenerationRequest
from engine.storage.clip_files import load_clip, save_clip
from engine.storage.library import ClipRecord, Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_a_model_that_is_not_installed_says_so_before_generate(page: Page, studio: Any) -> None:
    page.goto(studio.address)
    expect(page.locator("#seed input, #seed textarea")).not_to_have_value("", timeout=120_000)
    page.locator("#model input").click()
    options = page.get_by_role("option")
    expect(options.first).to_contain_text("mini (embedded)")
    page.get_by_role("option", name=general.not_installed("Wan 2.1 1.3B"), exact=True).click()
    expect(page.locator("#model")).to_contain_text("is not installed (about 29 GB): run dailies models get")
    expect(page.locator("#generate")).to_be_disabled()
    page.locator("#prompt textarea").fill("a cat on a mat")
    page.locator("#prompt textarea").press("Control+Enter")
    page.locator("#model input").click()
    options.first.click()
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#queue .job").filter(has_text="a cat on a mat")).to_have_count(0)


def test_plots_that_are_drawn_in_a_hidden_tab_fit_their_box(page: Page, studio: Any, watched: Any) -> None:
    page.goto(studio.address)
    expect(page.locator("#seed input, #seed textarea")).not_to_have_value("", timeout=120_000)
    page.locator("#prompt textarea").fill("a small blue square moving up")
    page.locator("#prompt textarea").press("Control+Enter")
    expect(page.locator("#generate-bars .ytick text")).not_to_have_count(0, timeout=180_000)
    with watched.leaving():
        page.goto(f"{studio.address}?tab=score")
    expect(page.get_by_role("tab", name=general.SCORE)).to_have_attribute("aria-selected", "true", timeout=120_000)
    page.wait_for_function("document.querySelector('#generate-bars .js-plotly-plot svg.main-svg')")
    page.get_by_role("tab", name=general.GENERATE).click()
    page.wait_for_function(
        """() => ["#generate-bars", "#generate-timeline"].every((plot) => {
             const box = document.querySelector(plot), svg = box?.querySelector("svg.main-svg");
             return svg && box.clientWidth && Math.abs(svg.clientWidth - box.clientWidth) <= 2;
           })""",
        timeout=20_000,
    )


def test_clips_of_the_base_and_of_an_adapter_can_be_told_apart(page: Page, archive: Any) -> None:
    store = Library(archive.workspace)
    first = store.clips()[-1]
    request = GenerationRequest(**{**first.request, "adapter": "mini_nft-a7e248"})
    save_clip(store.workspace, request.id, replace(load_clip(store.workspace, first.id)), request)
    store.add_clip(replace(ClipRecord.generated(request), created_at=first.created_at))
    try:
        page.goto(archive.address)
        page.get_by_role("tab", name=general.LIBRARY).click()
        cards = page.locator("#library-grid .card").filter(has_text=first.prompt)
        expect(cards).to_have_count(2)
        expect(cards.filter(has_text="mini_nft-a7e248")).to_have_count(1)
        for index in range(2):
            cards.nth(index).locator("input").check(force=True)
        page.locator("#library-grid [data-do=compare]").click()
        captions = page.locator("#compare-player .caption")
        expect(captions).to_have_count(2)
        expect(captions.filter(has_text="mini + mini_nft-a7e248")).to_have_count(1)
    finally:
        store.delete([request.id])
        store.close()
