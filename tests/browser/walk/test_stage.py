"""Generate as a place to work: the strip of variations, what a reload finds again, and prompts that were used."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general, labelling
from engine.storage.library import Library
from tests.browser.walk.conftest import PROMPTS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CARDS = "#generate-takes .card"
SEED = "#seed input, #seed textarea"


def opened(page: Page, bench: Any) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(bench.address)
    expect(page.locator(SEED)).to_have_value(re.compile(r"\d+"))
    expect(page.locator(CARDS)).to_have_count(4)


def test_the_best_variation_is_shown_and_all_are_above_the_fold(page: Page, furnished: Any) -> None:
    opened(page, furnished)
    scores = page.locator(f"{CARDS} .score").all_inner_texts()
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4
    expect(page.locator("#generate-facts .total b")).to_have_text(scores[0])
    for card in (0, 1):
        page.locator(CARDS).nth(card).locator("input").check()
    page.wait_for_function("document.querySelector('#generate-player video')?.currentTime > 0")
    for part in ("#generate", "#generate-player", "#generate-bars", "#generate-takes .chosen-bar", "#generate-takes"):
        box = page.locator(part).bounding_box()
        assert box is not None and box["y"] + box["height"] <= 900, (part, box)
    page.locator("#generate-takes [data-do=compare]").click()
    expect(page.locator("#generate-player video")).to_have_count(2)


def test_several_variations_are_starred_and_sent_to_labelling(page: Page, furnished: Any) -> None:
    opened(page, furnished)
    ids = [page.locator(CARDS).nth(card).get_attribute("data-id") for card in (0, 1)]
    for card in (0, 1):
        page.locator(CARDS).nth(card).locator("input").check()
    page.locator("#generate-takes [data-do=star_chosen]").click()
    for card in (0, 1):
        expect(page.locator(CARDS).nth(card).locator(".star")).to_have_attribute("aria-pressed", "true")
    store = Library(furnished.workspace)
    assert all(clip_id and store.clip(clip_id).starred for clip_id in ids)
    store.close()
    expect(page.locator("#generate-takes [data-do=star_chosen]")).to_have_text(general.GRID_WORDS["unstar"])
    page.locator("#generate-takes [data-do=label]").click()
    expect(page.get_by_role("tab", name=labelling.LABEL, exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#campaign-which input")).to_have_value(general.which_chosen(2))


def test_the_opened_variation_has_an_address(page: Page, furnished: Any, watched: Any) -> None:
    opened(page, furnished)
    cards = page.locator(CARDS)
    for place in (1, 2):
        cards.nth(place).locator(".thumb").click()
        expect(cards.nth(place)).to_have_class(re.compile("is-current"))
        expect(page).to_have_url(re.compile(f"shown={cards.nth(place).get_attribute('data-id')}"))
    with watched.leaving():
        page.reload()
    expect(cards.nth(2)).to_have_class(re.compile("is-current"))
    page.go_back()
    expect(cards.nth(1)).to_have_class(re.compile("is-current"))
    page.go_back()
    expect(cards.nth(0)).to_have_class(re.compile("is-current"))
    expect(page).not_to_have_url(re.compile("shown="))
    page.go_forward()
    expect(cards.nth(1)).to_have_class(re.compile("is-current"))


def test_a_reload_finds_the_form_as_it_was(page: Page, furnished: Any, watched: Any) -> None:
    opened(page, furnished)
    page.locator("#prompt textarea").fill("a green heart rising")
    page.get_by_role("radio", name="Keyframes").check()
    for name, value in (("frames", "49"), ("takes", "3")):
        page.locator(f"#{name} input[type=number]").fill(value)
        page.locator(f"#{name} input[type=number]").blur()
    page.locator(SEED).fill("77")
    page.locator("#keep-seed input").check()
    page.wait_for_function("JSON.parse(localStorage.getItem('dailies.generate') ?? '{}').keep_seed === true")
    with watched.leaving():
        page.reload()
        expect(page.locator(SEED)).to_have_value("77")
    expect(page.locator("#prompt textarea")).to_have_value("a green heart rising")
    expect(page.locator("#frames input[type=number]")).to_have_value("49")
    expect(page.locator("#takes input[type=number]")).to_have_value("3")
    expect(page.locator("#keep-seed input")).to_be_checked()
    expect(page.get_by_role("radio", name="Keyframes")).to_be_checked()
    expect(page.locator("#keyframes-first")).to_be_visible()

    page.evaluate('localStorage.setItem(\'dailies.generate\', \'{"model": 7, "prompt": [], "takes": true}\')')
    with watched.leaving():
        page.reload()
        expect(page.locator(SEED)).to_have_value(re.compile(r"\d+"))
    expect(page.locator("#takes input[type=number]")).to_have_value("1")
    expect(page.locator("#model input")).to_have_value(re.compile("mini"))


def test_a_prompt_that_was_used_is_offered_again(page: Page, furnished: Any) -> None:
    opened(page, furnished)
    page.locator("#prompt-history summary").click()
    prompts = page.locator("#prompt-history button")
    expect(prompts.first).not_to_be_empty()
    newest = prompts.first.inner_text()
    assert newest in PROMPTS  # that of the job which waits
    prompts.nth(1).click()
    expect(page.locator("#prompt textarea")).not_to_have_value("")
    expect(prompts.first).to_be_hidden()
    page.locator("#prompt textarea").fill("")
    page.locator("#prompt textarea").press("ArrowUp")
    expect(page.locator("#prompt textarea")).to_have_value(newest)


def test_the_form_scrolls_with_the_page_and_never_sideways(page: Page, furnished: Any) -> None:
    opened(page, furnished)
    page.get_by_text(general.MORE).click()
    expect(page.locator("#width input")).to_be_visible()
    form = page.locator(".request-form")
    for group, values in (("batch", ("list", "sweep", "one")), ("mode", ("keyframes", "windows", "direct"))):
        for value in values:
            page.locator(f'#{group} input[value="{value}"]').check()
            width, room, flow = form.evaluate(
                "form => [form.scrollWidth, form.clientWidth, getComputedStyle(form).overflowY]"
            )
            assert (width, flow) == (room, "visible"), (group, value)


def test_both_buttons_of_keyframes_stay_uncovered(page: Page, furnished: Any) -> None:
    opened(page, furnished)
    page.get_by_role("radio", name="Keyframes").check()
    for button in ("#generate", "#keyframes-first"):
        box = page.locator(button).bounding_box()
        assert box is not None and box["y"] + box["height"] <= 900
        page.locator(button).click(position={"x": 20, "y": 2}, trial=True)
        page.locator(button).click(position={"x": 20, "y": box["height"] - 2}, trial=True)
