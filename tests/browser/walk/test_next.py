"""Where each place leads: the greeting of an empty workspace, labelling what was chosen, using what was trained; links
that open in a fresh browser, plots that can be taken away, and all of it by keyboard."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app.text import general, labelling, monitor, training
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

GREETING = "#generate-welcome .greeting"


def at(page: Page, tab: str) -> None:
    expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")


def go(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    at(page, tab)


def test_an_empty_workspace_greets_until_there_is_something(
    page: Page, new_workbench: Callable[..., Any], watched: Any
) -> None:
    bench = new_workbench()
    bench.start()
    page.goto(bench.address)
    expect(page.locator(f"{GREETING} button")).to_have_count(len(general.WELCOME_WORDS["steps"]))
    page.locator('[data-step="import_clips"]').click()
    at(page, general.LIBRARY)
    expect(page.locator("#upload")).to_be_visible()
    go(page, general.GENERATE)
    page.locator('[data-step="new_campaign"]').click()
    at(page, labelling.LABEL)
    at(page, labelling.NEW)
    expect(page.locator("#create-campaign")).to_be_visible()
    go(page, general.GENERATE)
    page.locator('[data-step="first_clip"]').click()
    expect(page.locator("#prompt textarea")).to_have_value(general.EXAMPLE_PROMPTS[0])
    expect(page.locator("#queue .jobs .job")).to_have_count(1)
    expect(page.locator(GREETING)).to_be_hidden()
    with watched.leaving():
        page.reload()
    expect(page.locator("#queue .jobs .job")).to_have_count(1)
    expect(page.locator(GREETING)).to_be_hidden()


def test_chosen_clips_are_labelled(page: Page, furnished: Any) -> None:
    page.goto(furnished.address)
    go(page, general.LIBRARY)
    cards = page.locator("#library-grid .card")
    for index in (0, 2):  # takes of one prompt
        cards.nth(index).hover()
        cards.nth(index).locator(".pick input").check()
    page.locator('#library-grid [data-do="label"]').click()
    at(page, labelling.LABEL)
    at(page, labelling.NEW)
    expect(page.locator("#campaign-which input")).to_have_value(general.which_chosen(2))
    page.locator("#create-campaign").click()
    at(page, labelling.VOTE)
    page.locator("#label-desk .name").fill("dora")
    page.keyboard.press("Enter")
    expect(page.locator("#label-desk .votes button").first).to_be_visible()
    expect(page.locator("#label-desk .place")).to_have_text("0 voted, 1 remaining")


def test_a_finished_run_is_watched_and_its_adapter_used(page: Page, furnished: Any, watched: Any) -> None:
    page.goto(furnished.address)
    go(page, training.TRAIN)
    run = page.locator('#train-board .run[data-state="finished"]')
    name = str(run.get_attribute("data-id"))
    run.locator('[data-do="watch"]').click()
    at(page, monitor.MONITOR)
    expect(page.locator("#monitor-samples .run")).to_have_text(name)
    expect(page.locator(f'#monitor-curves [data-id="{name}"] input')).to_be_checked()
    page.locator('#monitor-curves button[data-view="samples"]').click()
    page.locator("#monitor-samples .use").click()
    at(page, general.GENERATE)
    expect(page.locator("#adapters select")).to_have_value(name)
    with watched.leaving():
        page.reload()
    go(page, training.TRAIN)
    run.locator('[data-do="use"]').click()
    at(page, general.GENERATE)
    expect(page.locator("#adapters select")).to_have_value(name)


def test_every_clip_has_a_link_that_opens_in_a_fresh_browser(browser: Browser, furnished: Any, watched: Any) -> None:
    store = Library(furnished.workspace)
    clip = store.clips()[-1]
    store.close()
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    watched.watch(page)
    page.goto(f"{furnished.address}clip/{clip.id}")
    at(page, general.LIBRARY)
    expect(page.locator("#library-facts .prompt")).to_have_text(clip.prompt)
    page.locator("#library-details [data-do=copy]").click()
    expect(page.locator("#library-details [data-do=copy]")).to_have_text(general.COPY_WORDS["done"])
    assert page.evaluate("navigator.clipboard.readText()") == f"{furnished.address}clip/{clip.id}"
    context.close()


def taken(page: Page, plot: str, kind: str) -> Path:
    with page.expect_download() as download:
        page.locator(f"{plot} .plot-files button", has_text=kind).first.click()
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    return Path(download.value.path())


def test_every_plot_can_be_taken_away(page: Page, furnished: Any) -> None:
    page.goto(furnished.address)
    go(page, general.SCORE)
    page.locator("#score-table td.clip a").first.click()
    for plot, head in (
        ("#score-bars", ["series", "x", "y"]),
        ("#score-timeline", ["series", "x", "y"]),
        ("#score-radar", ["series", "x", "y"]),
        ("#score-matrix", ["series", "row", "column", "value"]),
    ):
        rows = list(csv.reader(io.StringIO(taken(page, plot, "CSV").read_text())))
        assert rows[0] == head and len(rows) > 5 and all(len(row) == len(head) for row in rows), plot
        with Image.open(taken(page, plot, "PNG")) as picture:
            darkest, lightest = picture.convert("L").getextrema()
            assert picture.width > 300 and lightest - darkest > 100, plot
    go(page, monitor.MONITOR)
    page.locator("#monitor-curves .pick", has_text="mini_nft").click()
    page.locator("#monitor-curves .run", has_text="mini_nft").locator("input").check()
    loss = '#monitor-curves [data-metric="loss"]'
    page.locator(loss).hover()
    rows = list(csv.reader(io.StringIO(taken(page, loss, "CSV").read_text())))
    assert rows[0] == ["run", "step", "loss", "smoothed"]
    assert [row[1] for row in rows[1:]] == [str(n) for n in range(1, 13)]
    with Image.open(taken(page, loss, "PNG")) as picture:
        assert picture.height > 150


# Whether the element that has the focus looks otherwise than without it.
RING = """() => {
  const node = document.activeElement, look = (one) => { const { outlineStyle, outlineWidth, boxShadow, borderColor } = getComputedStyle(one); return [outlineStyle, outlineWidth, boxShadow, borderColor].join(); };
  const around = [node, node.parentElement, node.closest("label, .wrap, .thumb")].filter(Boolean), before = around.map(look);
  node.blur();
  const after = around.map(look);
  node.focus({ focusVisible: true });
  return String(before) !== String(after);
}"""  # noqa: E501
MAIN = {
    general.GENERATE: [
        "#generate",
        "#model",
        "#generate-facts [data-action=again]",
        "#generate-timeline .plot-files button",
    ],
    general.SCORE: ["#which", "#score-weights input", "#score-table a", "#score-table [data-do=label]"],
    general.LIBRARY: ["#search", "#library-grid .thumb", "#library-grid .pick input"],
    training.TRAIN: ["#train-form [data-do=queue]", "#train-form [data-do=check]", "#train-board [data-do=use]"],
    monitor.MONITOR: ["#monitor-curves .pick", "#monitor-samples .use"],
}


def test_main_actions_are_reached_by_tab_and_seen(page: Page, furnished: Any) -> None:
    page.goto(furnished.address)
    for tab, actions in MAIN.items():
        go(page, tab)
        if tab == monitor.MONITOR:
            page.locator("#monitor-curves .pick", has_text="mini_nft").click()
            page.locator('#monitor-curves button[data-view="samples"]').click()
        for action in actions:
            expect(page.locator(action).filter(visible=True).first).to_be_visible()
        page.get_by_role("tab", name=tab, exact=True).focus()
        missing, unseen = set(actions), list[str]()
        for _ in range(150):
            page.keyboard.press("Tab")
            reached = {one for one in missing if page.evaluate("(it) => !!document.activeElement.closest(it)", one)}
            if reached and not page.evaluate(RING):
                unseen += sorted(reached)
            missing -= reached
            if not missing:
                break
        assert (tab, missing, unseen) == (tab, set(), [])


def test_a_slow_network_shows_states_and_no_errors(page: Page, furnished: Any) -> None:
    """400 kbit/s and 300 ms: the page is used as soon as it is there, and says what it waits for."""
    throttle = page.context.new_cdp_session(page)
    speed = 400 * 1000 / 8
    throttle.send("Network.enable")
    throttle.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 300, "downloadThroughput": speed, "uploadThroughput": speed},
    )
    page.set_default_timeout(400_000)
    page.goto(furnished.address, wait_until="commit", timeout=400_000)
    expect(page.locator("body")).to_contain_text(re.compile("Loading|Generate"), timeout=400_000)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"), timeout=400_000)
    expect(page.locator("#generate-facts .prompt")).not_to_be_empty(timeout=400_000)
    expect(page.locator("#generate-jobs .job")).to_be_visible(timeout=400_000)
    go(page, training.TRAIN)
    expect(page.locator("#train-board .run").first).to_be_visible(timeout=400_000)
    expect(page.locator("#train-board .problem")).to_be_hidden()
    expect(page.locator(".toast-body")).to_have_count(0)
