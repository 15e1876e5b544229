"""The list of campaigns: progress, edit, instructions to labellers, and deletion with undo."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import labelling
from engine.labelling.campaigns import Campaigns

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_a_campaign_is_edited_deleted_and_brought_back(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str
) -> None:
    page.goto(f"{bench.address}?tab=label")
    page.get_by_role("tab", name=labelling.CAMPAIGNS, exact=True).click()
    desk = page.locator("#label-campaigns")
    row = desk.locator(f'tr[data-id="{campaign}"]')
    expect(row.locator(".state")).to_have_text(labelling.LIST_WORDS["open"])
    row.locator('[data-do="edit"]').click()
    form = desk.locator(".editing")
    form.locator('[name="title"]').fill("Another title")
    form.locator('[name="target"]').fill("3")
    form.locator('[name="keys"]').fill("7890")
    form.locator('[name="instructions"]').fill("Look at the motion.")
    form.locator('[type="submit"]').click()
    expect(row).to_contain_text("Another title")
    expect(row.locator(".progress")).to_contain_text("of 3 votes")
    spec = campaigns.get(campaign).spec
    assert (spec.title, spec.target_votes, spec.instructions) == ("Another title", 3, "Look at the motion.")
    page.get_by_role("tab", name=labelling.VOTE, exact=True).click()
    if page.locator("#label-desk .name").is_visible():
        page.locator("#label-desk .name").fill("mia")
        page.keyboard.press("Enter")
    page.locator("#label-desk .campaign").select_option(label="Another title")
    expect(page.locator("#label-desk .votes kbd")).to_have_text(["7", "8", "9", "0"])
    page.get_by_role("tab", name=labelling.CAMPAIGNS, exact=True).click()
    row.locator('[data-do="close"]').click()
    expect(row.locator(".state")).to_have_text(labelling.LIST_WORDS["closed"])
    row.locator('[data-do="reopen"]').click()
    expect(row.locator(".state")).to_have_text(labelling.LIST_WORDS["open"])
    row.locator('[data-do="delete"]').click()
    expect(row).to_have_count(0)
    assert campaign not in [one.id for one in campaigns.list()]
    desk.locator('[data-do="restore"]').click()
    expect(row).to_have_count(1)
    assert campaigns.get(campaign).is_open and campaigns.get(campaign).title == "Another title"
