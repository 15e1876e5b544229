"""The check before a run on a campaign: the button that stands beside the one that queues the run."""

import uuid
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import training
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LONG_MS = 400_000


def test_a_preset_on_votes_is_checked_on_the_votes_pairs(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str
) -> None:
    for one in campaigns.next_pairs(campaign, "ann"):
        said = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip, "client_uuid": str(uuid.uuid4())}
        campaigns.vote(Vote.read(said, "ann"))
    page.goto(bench.address)
    page.get_by_role("tab", name=training.TRAIN, exact=True).click()
    form = page.locator("#train-form")
    form.locator('select[name="preset"]').select_option("mini_dpo")
    form.locator('select[name="campaign"]').select_option(campaign)
    form.locator('[data-setting="num_frames"]').fill("33")
    form.locator('[data-setting="per_device_train_batch_size"]').fill("1")
    expect(form.locator(".shell code")).to_contain_text("per_device_train_batch_size=1")
    form.locator('[data-do="check"]').click()
    verdicts = form.locator(".verdicts tbody tr")
    expect(verdicts.filter(has_text="The clips have the settings' frames and size.")).to_be_visible(timeout=LONG_MS)
    expect(form.locator(".problem")).to_be_hidden()
