"""From a campaign that lacks its clips to a run that has learned from the votes on them, in the page alone; and every
step of the way back: run, pairs, votes, clips, requests."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import labelling as text
from app.text import training
from engine.labelling.campaigns import Campaigns
from engine.labelling.run_dataset import read_lineage
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.storage.clip_files import load_clip
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

PROMPTS = ("a red circle moving left on a white background", "a large blue star bouncing at night")
READY = "document.querySelector('#label-desk .label-desk')?.dataset.pair"
SENT = "!Object.keys(localStorage).some(name => name.startsWith('dailies.vote.'))"
LONG_MS = 600_000


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any], presets: Path) -> Any:
    bench = new_workbench(presets)
    bench.start()
    return bench


def make_campaign(page: Page, bench: Any) -> None:
    """Two takes of each of two prompts by the embedded model: none of the four clips is there yet."""
    page.goto(bench.address)
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    page.get_by_role("tab", name=text.NEW, exact=True).click()
    page.locator("#campaign-title input, #campaign-title textarea").fill("Takes of mini")
    page.locator("#campaign-prompts textarea").fill("\n".join(PROMPTS))
    page.locator("#create-campaign").click()
    page.locator("#label-desk .name").fill("anna")
    page.keyboard.press("Enter")


def test_missing_clips_are_made_voted_on_and_trained_on(page: Page, bench: Any) -> None:
    make_campaign(page, bench)
    expect(page.locator("#label-desk .nothing h3")).to_have_text(text.DESK_WORDS["waiting"][0])
    generating = page.locator("#label-desk .generating > span")
    expect(generating).to_have_text(re.compile(r"^[1-4] of 4 clips still generating$"))
    pair = ""
    for key in ("1", "2"):
        page.wait_for_function(f"(but) => ![but, '', undefined].includes({READY})", arg=pair, timeout=LONG_MS)
        pair = page.evaluate(READY)
        page.keyboard.press(key)
    page.wait_for_function(SENT)
    expect(page.locator("#label-desk .nothing h3")).to_have_text(text.DESK_WORDS["no_pairs"][0])
    page.get_by_role("button", name=text.DESK_WORDS["results"]).click()
    expect(page.get_by_role("tab", name=text.RESULTS, exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#label-sheet .figures")).to_contain_text("2 of 2")
    expect(page.locator("#train-on-these")).to_be_visible()
    page.get_by_role("tab", name=text.VOTE, exact=True).click()
    page.get_by_role("button", name=text.DESK_WORDS["train"], exact=True).click()
    expect(page.get_by_role("tab", name=training.TRAIN, exact=True)).to_have_attribute("aria-selected", "true")
    store = Library(bench.workspace)
    campaigns = Campaigns(store)
    (campaign,) = campaigns.list()
    expect(page.locator('#train-form select[name="campaign"]')).to_have_value(campaign.id)
    for name, value in (("max_steps", "1"), ("per_device_train_batch_size", "2")):
        page.locator(f'#train-form [data-setting="{name}"]').fill(value)
    page.locator('#train-form [data-do="queue"]').click()
    row = page.locator("#train-board .run")
    expect(row).to_have_count(1)
    run = Run.find(bench.workspace, str(row.get_attribute("data-id")))
    expect(row).to_have_attribute("data-state", "finished", timeout=LONG_MS)
    follow_back(run, campaigns, campaign.id)
    store.close()


def follow_back(run: Run, campaigns: Campaigns, campaign_id: str) -> None:
    """The run's pairs are the votes' pairs, of clips that are there, made by requests that the job did."""
    lineage, votes = read_lineage(run), {one.number: one for one in campaigns.votes(campaign_id)}
    assert lineage is not None and (lineage.campaign_id, lineage.labellers) == (campaign_id, ("anna",))
    rows = [json.loads(line) for line in run.pairs_file.read_text().splitlines()]
    assert [row["pair_id"] for row in rows] == list(lineage.pair_ids) and len(rows) == 2
    assert sorted(number for row in rows for number in row["vote_numbers"]) == sorted(votes)
    requests = {clip.id: clip for clip in campaigns.store.clips()}
    for row in rows:
        (vote,) = (votes[number] for number in row["vote_numbers"])
        assert vote.winner == row["chosen_clip"] and {vote.left_clip, vote.right_clip} == {
            row["chosen_clip"],
            row["rejected_clip"],
        }
        for side in ("chosen", "rejected"):
            clip = requests[row[f"{side}_clip"]]
            assert (run.folder / row[side]).resolve().is_file()
            assert clip.request is not None
            request = GenerationRequest(**clip.request)
            assert (request.id, request.prompt) == (clip.id, row["prompt"])
            assert load_clip(campaigns.store.workspace, clip.id).prompt == row["prompt"]
