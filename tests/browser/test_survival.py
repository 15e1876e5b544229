"""What is killed comes back: the page's process, and the worker in the middle of a job."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general, jobs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PROMPT = "a purple heart circling around at night"


def the_job(page: Page) -> Locator:
    """Its row in the queue."""
    return page.locator("#queue .job").filter(has_text=PROMPT).first


def set_number(page: Page, name: str, value: int) -> None:
    field = page.locator(f"#{name} input[type=number]")
    field.fill(str(value))
    field.blur()


def begin(page: Page, bench: Any) -> None:
    """File a job that takes some ten seconds also where the worker is warm, and wait until it is under way."""
    page.goto(bench.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"), timeout=120_000)
    page.locator("#prompt textarea").fill(PROMPT)
    page.locator("#takes input[type=number]").fill("2")
    set_number(page, "frames", 129)
    page.get_by_text(general.MORE).click()
    set_number(page, "steps", 100)
    page.locator("#prompt textarea").press("Control+Enter")
    expect(the_job(page)).to_contain_text(re.compile("Denoising, step"), timeout=180_000)


def wait_for_the_clip(page: Page) -> None:
    expect(page.locator("#generate-facts .prompt")).to_have_text(PROMPT, timeout=240_000)
    expect(page.locator("#generate-takes .card")).to_have_count(2)
    page.wait_for_function("document.querySelector('#generate-player video')?.currentTime > 0")


def test_the_page_is_killed_and_the_job_goes_on(page: Page, watched: Any, new_workbench: Any, presets: Any) -> None:
    bench = new_workbench(presets)
    bench.start()
    begin(page, bench)
    bench.kill()
    expect(page.locator("#queue .badge")).to_have_text(jobs.QUEUE_WORDS["away"])
    bench.start()
    wait_for_the_clip(page)  # in the tab that was open all the time
    page.goto(bench.address)
    wait_for_the_clip(page)  # and in a fresh one
    kinds = ("Failed to load resource", "Could not connect", "ERR_CONNECTION_REFUSED")
    watched.complaints[:] = [said for said in watched.complaints if not any(kind in said for kind in kinds)]
    page.goto("about:blank")  # a page whose server goes complains of it
    bench.end()


def test_the_worker_is_killed_and_the_job_is_filed_again(page: Page, studio: Any) -> None:
    begin(page, studio)
    studio.kill_worker()
    job = the_job(page)
    expect(job).to_contain_text("The worker")
    expect(job).to_contain_text("submit the job again")
    page.locator("#queue .badge").click()
    job.get_by_role("button", name=jobs.QUEUE_WORDS["retry"]).click()
    page.keyboard.press("Escape")
    wait_for_the_clip(page)
