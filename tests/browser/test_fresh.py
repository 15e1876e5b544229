"""What comes to be while the page is open, here by somebody in a shell, is offered once its tab is opened again."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general, training
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.request import GenerationRequest
from engine.runs.adapters import AdapterCard, write_card
from engine.runs.run import Run
from engine.runs.run_notes import write_notes
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PROMPT = "a red circle moving left"
TITLE = "Softer (trained-second)"


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any]) -> Any:
    """Nothing works in the background there: the queue is paused."""
    made = new_workbench()
    store = Library(made.workspace)
    JobQueue(store).pause()
    store.close()
    made.start()
    return made


def add_adapter(bench: Any, name: str) -> None:
    folder = bench.workspace.adapters / name
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"0")
    write_card(folder, AdapterCard(model="mini"))


def go(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()


def test_generate_and_train_offer_what_came_since(page: Page, bench: Any) -> None:
    page.goto(bench.address)
    adapter = page.locator("#adapters select")
    expect(adapter).to_be_disabled()
    expect(page.locator("#adapters")).to_contain_text(general.NO_ADAPTERS)
    go(page, training.TRAIN)
    form = page.locator("#train-form")
    form.locator('select[name="preset"]').select_option("mini_dpo")
    rate, campaigns = form.locator('[data-setting="learning_rate"]'), form.locator('select[name="campaign"]')
    expect(campaigns).to_be_visible()
    expect(campaigns.locator("option")).to_have_text([training.FORM_WORDS["no_campaigns"]])
    rate.fill("1e-5")

    add_adapter(bench, "trained-first")
    store = Library(bench.workspace)
    JobQueue(store).submit(JobSpec.generate([GenerationRequest(prompt=PROMPT)], None))
    spec = CampaignSpec(title="Takes of mini", prompts=(PROMPT,), entrants=(Entrant(model="mini"),), takes=2)
    campaign = Campaigns(store).create(spec)
    store.close()

    go(page, general.GENERATE)
    expect(page.locator("#queue .jobs .job")).to_contain_text(PROMPT)
    expect(adapter).to_be_enabled()
    adapter.select_option("trained-first")
    expect(adapter).to_have_value("trained-first")
    go(page, training.TRAIN)
    start = form.locator('select[name="adapter"]')
    expect(campaigns.locator(f'option[value="{campaign.id}"]')).to_have_text("Takes of mini")
    expect(start.locator("option")).to_have_count(2)
    expect(rate).to_have_value("1e-5")
    start.select_option("trained-first")
    campaigns.select_option(campaign.id)

    add_adapter(bench, "trained-second")
    run = Run(bench.workspace.runs / "trained-second")
    run.folder.mkdir(parents=True)
    write_notes(run, "Softer", [])
    go(page, general.GENERATE)
    expect(adapter).to_have_value("trained-first")
    expect(adapter.locator("option")).to_have_text([general.ADAPTER_WORDS["base"], "trained-first", TITLE])
    expect(adapter).to_have_value("trained-first")
    go(page, training.TRAIN)
    expect(start.locator("option")).to_have_text([training.FORM_WORDS["no_adapter"], "trained-first", TITLE])
    expect(start).to_have_value("trained-first")
    expect(campaigns).to_have_value(campaign.id)
    expect(rate).to_have_value("1e-5")
