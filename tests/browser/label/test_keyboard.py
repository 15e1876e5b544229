"""A new campaign by keyboard alone, and the address of the campaign that is voted on."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import labelling as text
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("it => document.activeElement.closest(it) !== null", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_a_campaign_is_made_by_keyboard(page: Page, bench: Any, campaigns: Campaigns) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=text.LABEL, exact=True).focus()
    page.keyboard.press("Enter")
    new = page.get_by_role("tab", name=text.NEW, exact=True)
    expect(new).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if new.evaluate("tab => tab === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#create-campaign")).to_be_visible()
    for control in ("title", "what", "prompts", "entrants", "takes", "frames", "people", "strategy", "axes"):
        tab_to(page, f"#campaign-{control}")
    tab_to(page, "#create-campaign")

    page.get_by_role("tab", name=text.NEW, exact=True).focus()
    tab_to(page, "#campaign-title")
    page.keyboard.type("By hand")
    tab_to(page, '#campaign-what input[value="clips"]')  # each of Gradio's radio buttons is a stop of its own
    page.keyboard.press("Space")
    expect(page.locator("#campaign-which")).to_be_visible()
    for control in ("which", "people", "strategy", "axes"):
        tab_to(page, f"#campaign-{control}")
    page.keyboard.press("Space")
    tab_to(page, "#create-campaign")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name=text.VOTE, exact=True)).to_have_attribute("aria-selected", "true")
    made = campaigns.list()[0]
    assert made.title == "By hand" and len(made.spec.axes) == 1 and len(made.spec.clip_ids) == 8


def test_a_reload_comes_back_to_the_campaign(
    page: Page, bench: Any, campaigns: Campaigns, order: Any, watched: Any
) -> None:
    older, newer = (
        campaigns.create(CampaignSpec(title=title, clip_ids=tuple(sorted(order)))) for title in ("Older", "Newer")
    )
    page.goto(f"{bench.address}?tab=label&campaign={older.id}")
    picker = page.locator("#label-desk select.campaign")
    expect(picker).to_have_value(older.id)
    page.locator("#label-desk .name").fill("anna")
    page.keyboard.press("Enter")
    picker.select_option(newer.id)
    expect(page).to_have_url(f"{bench.address}?tab=label&campaign={newer.id}")
    with watched.leaving():
        page.reload()
    expect(picker).to_have_value(newer.id)


def test_the_labellers_page_keeps_its_address(page: Page, bench: Any, campaign: str) -> None:
    page.goto(f"{bench.address}label/")
    page.locator("#label-desk .name").fill("anna")
    page.keyboard.press("Enter")
    expect(page.locator("#label-desk select.campaign")).to_have_value(re.compile(".+"))
    expect(page).to_have_url(f"{bench.address}label/")


def test_clips_are_large_and_all_that_is_pressed_is_in_sight(desk: Any) -> None:
    page = desk.page
    page.set_viewport_size({"width": 1440, "height": 900})
    desk.arrive()
    for video in page.locator("#label-desk video").all():
        box = video.bounding_box()
        assert box is not None and box["width"] >= 420, box
    for target in ("[data-vote=left]", "[data-vote=skip]", "[data-does=vote_undo]", ".note"):
        box = page.locator(f"#label-desk .voting {target}").bounding_box()
        assert box is not None and box["y"] + box["height"] <= 900, (target, box)


def test_the_keys_of_the_votes_run_from_left_to_right(desk: Any, page: Page) -> None:
    desk.arrive()
    boxes = [
        (button.bounding_box(), button.locator("kbd").inner_text()) for button in page.locator(".votes button").all()
    ]
    assert all(box is not None for box, _ in boxes)
    assert [key for _, key in sorted(boxes, key=lambda pair: pair[0]["x"])] == ["1", "2", "3", "4"]
    assert len({box["y"] for box, _ in boxes}) == 1, "they are in one row"
