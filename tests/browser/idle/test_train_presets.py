"""The preset's form while answers are late, fail, or overtake each other: what it shows is what it queues."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from app.text import general, training
from engine.jobs.queue import JobQueue
from engine.process_identity import ProcessIdentity

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

Held = Callable[[str], AbstractContextManager[list[Route]]]
WORDS = training.FORM_WORDS
SHOWN, OTHER, THIRD = "mini_grpo", "mini_nft", "mini_awm"
PATIENCE_S = 60.0
ATTEMPTS = 4  # of a call without an answer, see app/scripts/requests.js
VERDICTS = {"verdicts": [{"name": "frames", "level": "ok", "sentence": "Looks well."}]}


@pytest.fixture
def form(page: Page, idle: Any) -> Locator:
    page.goto(idle.address)
    page.get_by_role("tab", name=training.TRAIN, exact=True).click()
    form = page.locator("#train-form")
    expect(preset_field(form)).to_have_value(SHOWN)
    expect(hand(form, "queue")).to_be_enabled()
    return form


def preset_field(form: Locator) -> Locator:
    return form.locator('select[name="preset"]')


def hand(form: Locator, name: str) -> Locator:
    return form.locator(f'[data-do="{name}"]')


def expect_to_queue(form: Locator, key: str) -> None:
    """What the list says, what its hands would queue, and that they may."""
    expect(preset_field(form)).to_have_value(key)
    expect(hand(form, "queue")).to_be_enabled()
    expect(form.locator(".shell code")).to_contain_text(f"dailies train {key} ")


def wait_for(page: Page, waiting: list[Route], count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(waiting) < count:
        assert time.monotonic() < end, f"{len(waiting)} calls, not {count}"
        page.wait_for_timeout(50)


def test_a_preset_that_does_not_open_leaves_the_one_that_is_shown(
    page: Page, form: Locator, held_calls: Held, watched: Any
) -> None:
    with held_calls("open") as waiting:
        preset_field(form).select_option(OTHER)
        wait_for(page, waiting, 1)
        expect(hand(form, "queue")).to_be_disabled()
        with watched.expecting("ERR_FAILED|Could not connect"):
            for attempt in range(ATTEMPTS):
                wait_for(page, waiting, attempt + 1)
                waiting[attempt].abort()
            expect(form.locator(".problem span")).to_have_text(WORDS["not_opened"])
    expect_to_queue(form, SHOWN)
    form.locator('[data-setting="learning_rate"]').fill("0.002")
    expect(form.locator(".shell code")).to_contain_text("0.002")
    expect_to_queue(form, SHOWN)


def test_the_preset_that_was_chosen_last_is_shown(page: Page, form: Locator, held_calls: Held) -> None:
    with held_calls("open") as waiting:
        preset_field(form).select_option(OTHER)
        preset_field(form).select_option(THIRD)
        wait_for(page, waiting, 2)
        waiting[1].continue_()
        expect_to_queue(form, THIRD)
        with page.expect_response(lambda reply: reply.request == waiting[0].request):
            waiting[0].continue_()
        page.wait_for_timeout(500)
        expect_to_queue(form, THIRD)
        preset_field(form).select_option(OTHER)
        preset_field(form).select_option(THIRD)  # and back, before the other one came
        expect_to_queue(form, THIRD)
        wait_for(page, waiting, 3)
        waiting[2].continue_()
        page.wait_for_timeout(500)
        expect_to_queue(form, THIRD)


def end_the_check(jobs: JobQueue) -> None:
    job = jobs.claim(ProcessIdentity.current())
    assert job is not None and job.kind == "preflight"
    jobs.finish(job.id, "done", result=VERDICTS)


def test_a_check_says_nothing_of_another_preset(page: Page, form: Locator, jobs: JobQueue) -> None:
    hand(form, "check").click()
    expect(form.locator(".note")).to_be_visible()
    expect(hand(form, "check")).to_be_disabled()
    page.wait_for_timeout(1000)  # it was asked how the check goes
    preset_field(form).select_option(OTHER)
    expect_to_queue(form, OTHER)
    end_the_check(jobs)
    page.wait_for_timeout(2000)
    expect(form.locator(".verdicts")).to_be_hidden()
    expect(form.locator(".note")).to_be_hidden()
    expect(hand(form, "check")).to_be_enabled()


def test_a_check_that_failed_is_shown_as_an_error(page: Page, form: Locator, jobs: JobQueue) -> None:
    hand(form, "check").click()
    expect(page.locator("#queue .jobs .job")).to_have_count(1)
    job = jobs.claim(ProcessIdentity.current())
    assert job is not None and job.kind == "preflight"
    jobs.finish(job.id, "failed", error="The preset was not checked: no memory.")
    problem = form.locator(".problem")
    expect(problem.locator("span")).to_have_text("The preset was not checked: no memory.")
    expect(problem).to_have_attribute("role", "alert")
    expect(form.locator(".note")).to_be_hidden()
    expect(form.locator(".verdicts")).to_be_hidden()
    expect(hand(form, "check")).to_be_enabled()


def test_a_check_goes_on_when_the_server_is_back_and_tells_of_what_it_looked_at(
    page: Page, form: Locator, jobs: JobQueue, server_away: Callable[[], AbstractContextManager[None]]
) -> None:
    note, verdicts = form.locator(".note"), form.locator(".verdicts")
    hand(form, "check").click()
    expect(page.locator("#queue .jobs .job")).to_have_count(1)
    with server_away():
        expect(note).to_have_text(general.UNREACHABLE)
    end_the_check(jobs)
    row = f"{training.CHECK_LABELS['frames']}{WORDS['levels']['ok']}Looks well."  # type: ignore[index]
    expect(verdicts.locator("tbody tr")).to_have_text(row)
    expect(note).to_be_hidden()
    expect(hand(form, "check")).to_be_enabled()
    form.locator('[data-setting="learning_rate"]').fill("0.002")
    expect(note).to_have_text(WORDS["checked_before"])

    expect(form.locator(".shell code")).to_contain_text("0.002")
    expect(page.locator("#queue .jobs .job")).to_have_count(0)  # the queue has read that the first one ended
    hand(form, "check").click()
    expect(page.locator("#queue .jobs .job")).to_have_count(1)
    form.locator('[data-setting="learning_rate"]').fill("0.003")
    end_the_check(jobs)
    expect(verdicts).to_contain_text("Looks well.")
    expect(note).to_have_text(WORDS["checked_before"])
