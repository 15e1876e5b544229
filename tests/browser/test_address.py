"""Where the page is: its address follows the tabs and comes back to them; clips have links, copied on any host."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general, labelling, monitor, system, training
from engine.config.presets import load_train_preset
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.runs.run import Run
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


def test_back_and_forward_open_and_close_clips(page: Page, archive: Any) -> None:
    page.goto(f"{archive.address}?tab=library")
    thumbs, prompt = page.locator("#library-grid .thumb"), page.locator("#library-facts .prompt")
    page.locator("#search input, #search textarea").first.fill("red circle")
    expect(thumbs).to_have_count(2)
    prompts = []
    for card in page.locator("#library-grid .card").all():
        prompts.append(str(card.locator(".prompt").text_content()))
        card.locator(".thumb").click()
        expect(prompt).to_have_text(prompts[-1])
        expect(page).to_have_url(re.compile(f"clip={card.get_attribute('data-id')}"))
    page.go_back()
    expect(prompt).to_have_text(prompts[0])
    expect(thumbs).to_have_count(2)  # the filters stay
    page.go_back()
    expect(prompt).to_be_hidden()
    page.go_forward()
    expect(prompt).to_have_text(prompts[0])
    expect(page).to_have_url(re.compile("clip=[0-9a-f]{16}"))


def test_the_clip_that_score_shows_has_an_address(page: Page, archive: Any, watched: Any) -> None:
    page.goto(f"{archive.address}?tab=score")
    links, prompt = page.locator("#score-table td.clip a"), page.locator("#score-facts .prompt")
    prompts = [str(links.nth(place).locator(".prompt").text_content()) for place in range(2)]
    for place, wanted in enumerate(prompts):
        links.nth(place).click()
        expect(prompt).to_have_text(wanted)
    expect(page).to_have_url(re.compile("shown=[0-9a-f]{16}"))
    with watched.leaving():
        page.reload()
    expect(prompt).to_have_text(prompts[1])
    page.go_back()
    expect(prompt).to_have_text(prompts[0])
    page.go_back()
    expect(prompt).to_be_hidden()
    page.go_forward()
    expect(prompt).to_have_text(prompts[0])
    page.locator('#score-facts [data-action="close_clip"]').click()
    expect(page).not_to_have_url(re.compile("shown="))
    page.go_back()
    expect(prompt).to_have_text(prompts[0])


def test_back_and_forward_go_through_runs_and_views(page: Page, archive: Any, watched: Any) -> None:
    runs = [Run.create(archive.workspace, load_train_preset("mini_nft")) for _ in range(2)]
    for run in runs:
        run.append_metrics(1, {"loss": 1.0, "of": 4})
    page.goto(f"{archive.address}?tab=monitor")
    for run in runs:
        page.locator(f'#monitor-curves [data-id="{run.id}"] .pick').click()
        expect(page).to_have_url(re.compile(f"run={run.id}"))
    page.locator('#monitor-curves button[data-view="samples"]').click()
    go(page, labelling.LABEL)
    page.get_by_role("tab", name=labelling.RESULTS, exact=True).click()
    expect(page).to_have_url(re.compile("view=results"))
    with watched.leaving():
        page.reload()
    at(page, labelling.RESULTS)
    page.go_back()
    at(page, labelling.VOTE)
    page.go_back()
    at(page, monitor.MONITOR)
    chosen = page.locator('#monitor-curves button[aria-pressed="true"][data-view]')
    expect(chosen).to_have_attribute("data-view", "samples")
    expect(page.locator(f'#monitor-curves [data-id="{runs[1].id}"].is-looked')).to_have_count(1)
    page.go_back()
    expect(chosen).to_have_attribute("data-view", "curves")
    page.go_back()
    expect(page.locator(f'#monitor-curves [data-id="{runs[0].id}"].is-looked')).to_have_count(1)
    page.go_forward()
    expect(page.locator(f'#monitor-curves [data-id="{runs[1].id}"].is-looked')).to_have_count(1)


def test_back_and_forward_go_through_campaigns(page: Page, archive: Any) -> None:
    store = Library(archive.workspace)
    titles = ("the first", "the second")
    for title in titles:
        spec = CampaignSpec(title=title, prompts=("a star",), entrants=(Entrant(model="mini"),), takes=2)
        Campaigns(store).create(spec)
    store.close()
    page.goto(f"{archive.address}?tab=label")
    picker = page.locator("#label-desk select.campaign")
    for title in titles:
        picker.select_option(title)
        expect(picker.locator("option:checked")).to_have_text(title)
    page.go_back()
    expect(picker.locator("option:checked")).to_have_text(titles[0])
    page.go_forward()
    expect(picker.locator("option:checked")).to_have_text(titles[1])


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


def test_the_tab_that_back_leaves_does_not_take_the_address(page: Page, archive: Any) -> None:
    """While the server's answer for the other tab is awaited, a view of the open tab may still change."""
    page.goto(f"{archive.address}?tab=monitor")
    at(page, monitor.MONITOR)
    go(page, labelling.LABEL)
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.evaluate("history.back()")
    expect(page).to_have_url(re.compile("tab=monitor"))
    view = page.locator('#label-views button[aria-selected="true"]')
    view.evaluate("view => view.setAttribute('aria-selected', 'true')")
    address = page.evaluate("new Promise(done => setTimeout(() => done(location.search), 0))")
    assert address.startswith("?tab=monitor")
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    at(page, monitor.MONITOR)
    expect(page).to_have_url(re.compile("tab=monitor"))
    go(page, labelling.LABEL)
    expect(page).to_have_url(re.compile("tab=label"))
