"""The bell: off until somebody presses it, then it tells of ends and alarms while the page is out of sight."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from app.text import general, notices
from engine.config.presets import load_train_preset
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# A tab that a test can put out of sight, and a record of what the browser was asked to show.
WATCH = """
window.away = false; window.told = [];
Object.defineProperty(document, 'hidden', { get: () => window.away });
window.Notification = class extends window.Notification {
  constructor(title, options) { super(title, options); window.told.push([title, options.body, options.tag]); }
};
"""
AWAY = "away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }"


def end_a_job(bench: Any, error: str) -> str:
    store = Library(bench.workspace)
    queue = JobQueue(store)
    job = queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")], mix=None))
    taken = queue.claim(ProcessIdentity.current())
    assert taken is not None
    queue.finish(taken.id, "failed", error=error)
    store.close()
    return job.id


@pytest.fixture(scope="module")
def bench(idle: Any) -> Any:
    """One whose jobs nobody but the test takes."""
    return idle


def opened(page: Page, bench: Any) -> Locator:
    page.add_init_script(WATCH)
    page.goto(bench.address)
    bell = page.locator(".bell")
    expect(bell).to_have_attribute("data-state", "off")
    return bell


@pytest.fixture
def allowed(page: Page) -> BrowserContext:
    page.context.grant_permissions(["notifications"])
    return page.context


def test_what_ends_out_of_sight_is_told_by_the_browser(page: Page, bench: Any, allowed: BrowserContext) -> None:
    bell = opened(page, bench)
    end_a_job(bench, "Before anybody asked.")
    bell.click()
    expect(bell).to_have_attribute("data-state", "on")
    expect(bell).to_have_attribute("title", notices.BELL["on"])
    page.wait_for_function("localStorage.getItem('dailies.bell.seen') !== null")
    page.evaluate(AWAY, True)
    job = end_a_job(bench, "The loss is nan.")
    run = Run.create(bench.workspace, load_train_preset("mini_nft"))
    run.append_alarm(Alarm(step=3, name="motion", sentence="Motion fell by half.", value=0.1, limit=0.2))
    page.wait_for_function("window.told.length === 2")
    told = {title: (body, tag) for title, body, tag in page.evaluate("window.told")}
    assert told["Generate: 1 clip: a red circle failed"] == ("The loss is nan.", job)
    assert told[f"Alarm in run {run.id} at step 3"][0] == "Motion fell by half."
    expect(page).to_have_title(f"(2) {general.TITLE}")
    page.evaluate(AWAY, False)
    expect(page).to_have_title(general.TITLE)


def test_where_the_browser_refuses_the_title_counts(page: Page, bench: Any) -> None:
    bell = opened(page, bench)
    bell.click()
    expect(bell).to_have_attribute("data-state", "title")
    expect(bell).to_have_attribute("title", notices.BELL["title"])
    page.wait_for_function("localStorage.getItem('dailies.bell.seen') !== null")
    page.evaluate(AWAY, True)
    end_a_job(bench, "One.")
    expect(page).to_have_title(f"(1) {general.TITLE}")
    end_a_job(bench, "Two.")
    expect(page).to_have_title(f"(2) {general.TITLE}")
    assert page.evaluate("window.told") == []


def test_what_is_in_sight_is_not_told_and_off_is_off(page: Page, bench: Any, allowed: BrowserContext) -> None:
    bell = opened(page, bench)
    bell.click()
    page.wait_for_function("localStorage.getItem('dailies.bell.seen') !== null")
    seen = page.evaluate("localStorage.getItem('dailies.bell.seen')")
    end_a_job(bench, "Seen by who looks.")
    page.wait_for_function("seen => localStorage.getItem('dailies.bell.seen') !== seen", arg=seen)
    expect(page).to_have_title(general.TITLE)
    bell.click()
    expect(bell).to_have_attribute("data-state", "off")
    page.evaluate(AWAY, True)
    end_a_job(bench, "Unheard.")
    page.wait_for_timeout(6000)  # longer than it waits between two questions
    expect(page).to_have_title(general.TITLE)
    assert page.evaluate("window.told") == []
    assert page.evaluate("localStorage.getItem('dailies.bell.seen')") is None


def test_it_stays_on_when_the_page_is_opened_again_and_tells_what_came_meanwhile(
    page: Page, bench: Any, allowed: BrowserContext, watched: Any
) -> None:
    opened(page, bench).click()
    page.wait_for_function("localStorage.getItem('dailies.bell.seen') !== null")
    watched.requests.wait()  # what is cut off is complained of
    with watched.leaving():
        page.goto("about:blank")
    end_a_job(bench, "At night.")
    page.add_init_script("window.away = true;")
    page.goto(bench.address)
    expect(page.locator(".bell")).to_have_attribute("data-state", "on")
    page.wait_for_function("window.told.length === 1")
    assert page.evaluate("window.told[0][1]") == "At night."
