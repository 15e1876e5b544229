"""Rows of jobs and runs: what a hand holds stays with its run when the list moves, and what failed says so."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general, training
from app.text import jobs as text_jobs
from app.views.queue import ENDED_SHOWN
from engine.config.presets import load_train_preset
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.run import Run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

Away = Callable[[], AbstractContextManager[None]]
WORDS, QUEUE = training.BOARD_WORDS, text_jobs.QUEUE_WORDS
HELD = "document.activeElement?.closest('[data-id]')?.dataset.id + ' ' + document.activeElement?.dataset.do"


def new_run(bench: Any, *, extends: bool = False) -> Run:
    run = Run.create(bench.workspace, load_train_preset("mini_nft"))
    if extends:
        checkpoint = run.checkpoints / f"{CHECKPOINT}1"
        checkpoint.mkdir(parents=True)
        (checkpoint / "trainer_state.json").write_text("{}")
    return run


def taken(jobs: JobQueue, worker: ProcessIdentity | None = None) -> Job:
    job = jobs.claim(worker or ProcessIdentity.current())
    assert job is not None
    return job


def clip_job(jobs: JobQueue, prompt: str) -> Job:
    return jobs.submit(JobSpec.generate([GenerationRequest(prompt=prompt, seed=5)], mix=None))


def board(page: Page, bench: Any) -> Locator:
    page.goto(bench.address)
    page.get_by_role("tab", name=training.TRAIN, exact=True).click()
    expect(page.locator("#train-form .memory span")).not_to_be_empty()
    return page.locator("#train-board")


def queue(page: Page) -> Locator:
    """The drawer of the queue, opened."""
    page.locator("#queue .badge").click()
    drawer = page.locator("#queue-drawer")
    expect(drawer).to_be_visible()
    return drawer


def row(board: Locator, key: str) -> Locator:
    return board.locator(f'[data-id="{key}"]')


def test_a_row_of_the_board_keeps_what_is_held_when_another_run_comes(page: Page, idle: Any, jobs: JobQueue) -> None:
    old, other = new_run(idle, extends=True), new_run(idle)
    clip_job(jobs, "something waits")  # the board asks for news while something does
    there = board(page, idle)
    row(there, old.id).locator("input").fill("77")
    row(there, old.id).locator('[data-do="extend"]').focus()
    shown = there.locator(".run")
    expect(shown).to_have_count(2)
    new_run(idle)
    expect(shown).to_have_count(3)
    assert page.evaluate(HELD) == f"{old.id} extend"
    expect(row(there, old.id).locator("input")).to_have_value("77")

    # A press that is half done when the list moves is no press on the run that comes under the pointer.
    row(there, other.id).locator('[data-do="log"]').hover()
    page.mouse.down()
    new_run(idle)
    expect(shown).to_have_count(4)
    page.mouse.up()
    page.wait_for_timeout(300)
    expect(there.locator(".log")).to_be_hidden()


def test_the_focus_goes_with_the_job_that_is_moved(page: Page, idle: Any, jobs: JobQueue) -> None:
    first, second, third = (clip_job(jobs, f"number {number}") for number in range(3))
    page.goto(idle.address)
    there = queue(page)
    expect(there.locator(".jobs .job")).to_have_count(3)
    row(there, first.id).locator('[data-do="down"]').focus()
    for order in ([second, first, third], [second, third, first]):
        page.keyboard.press("Enter")
        for place, job in enumerate(order):
            expect(there.locator(".jobs .job").nth(place)).to_have_attribute("data-id", job.id)
    page.wait_for_function(f"{HELD} === '{first.id} up'")  # it is the last: its other button
    page.keyboard.press("Enter")
    expect(there.locator(".jobs .job").nth(1)).to_have_attribute("data-id", first.id)
    page.wait_for_function(f"{HELD} === '{first.id} up'")


@pytest.fixture
def worker() -> Iterator[ProcessIdentity]:
    """One that may be killed: it does nothing."""
    with subprocess.Popen(["sleep", "600"]) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None
        yield identity
        process.kill()


def test_what_cannot_be_taken_back_asks_first(page: Page, idle: Any, jobs: JobQueue, worker: ProcessIdentity) -> None:
    run = new_run(idle)
    jobs.submit(JobSpec.train(run.id))
    taken(jobs, worker)
    waiting = [clip_job(jobs, "one that waits"), clip_job(jobs, "another that waits")]
    there = board(page, idle)
    kill = row(there, run.id).locator('[data-do="kill"]')
    kill.click()
    expect(kill).to_have_text(WORDS["really"])
    expect(row(there, run.id)).to_contain_text(WORDS["kill_hint"])
    page.wait_for_timeout(1000)  # news come meanwhile
    expect(kill).to_have_text(WORDS["really"])
    row(there, run.id).locator('[data-do="keep"]').click()
    expect(kill).to_have_text(WORDS["kill"])
    expect(row(there, run.id)).not_to_contain_text(WORDS["kill_hint"])
    assert [job.status for job in jobs.list(kind="train", limit=1)] == ["running"]

    there = queue(page)
    for name in ("cancel_others", "cancel_pending"):
        button = there.locator(f'[data-do="{name}"]')
        button.dblclick()  # is one press
        expect(button).to_have_text(WORDS["really"])
    expect(there.locator('[data-do="cancel_others"]')).to_have_text(QUEUE["cancel_others"])  # one question at a time
    assert {jobs.get(job.id).status for job in waiting} == {"queued"}
    there.locator('[data-do="cancel_pending"]').click()
    expect(there.locator(".jobs .job")).to_have_count(1)
    assert {jobs.get(job.id).status for job in waiting} == {"cancelled"}
    expect(there.locator(".doubt")).to_have_count(0)


# ---- The queue
def test_a_row_of_the_queue_keeps_the_focus_when_the_job_before_it_ends(page: Page, idle: Any, jobs: JobQueue) -> None:
    first, second = clip_job(jobs, "ends first"), clip_job(jobs, "goes on")
    page.goto(idle.address)
    there = queue(page)
    row(there, second.id).locator('[data-do="cancel"]').focus()
    assert taken(jobs).id == first.id
    jobs.finish(first.id, "done", result={"clip_ids": []})
    expect(there.locator(f'.ended [data-id="{first.id}"]')).to_have_attribute("data-status", "done")
    assert page.evaluate(HELD) == f"{second.id} cancel"


def test_cancel_and_retry_say_when_the_server_does_not_answer(
    page: Page, idle: Any, jobs: JobQueue, server_away: Away
) -> None:
    job = clip_job(jobs, "to be tried again")
    page.goto(idle.address)
    there = queue(page)
    problem, mine = there.locator(".problem"), row(there, job.id)
    expect(mine).to_be_visible()
    with server_away():
        mine.locator('[data-do="cancel"]').click()
        expect(problem).to_have_text(general.UNREACHABLE)
        expect(page.locator("#queue .badge")).to_have_text(QUEUE["away"])
        expect(mine.locator("[aria-busy]")).to_have_count(0)
    expect(problem).to_be_hidden()
    assert jobs.get(job.id).status == "queued"
    mine.locator('[data-do="cancel"]').click()
    expect(mine).to_have_attribute("data-status", "cancelled")
    with server_away():
        mine.locator('[data-do="retry"]').click()
        expect(problem).to_have_text(general.UNREACHABLE)
        expect(mine.locator("[aria-busy]")).to_have_count(0)
    expect(problem).to_be_hidden()  # asked for again, though no job is active
    mine.locator('[data-do="retry"]').click()
    expect(there.locator(".jobs .job")).to_have_count(1)
    assert [one.config["requests"][0]["prompt"] for one in jobs.list("queued")] == ["to be tried again"]


def test_what_ended_is_kept_with_its_error_and_its_log(page: Page, idle: Any, jobs: JobQueue, watched: Any) -> None:
    """Also when it ended long before anybody looked; the badge counts failures until the drawer is opened."""
    page.goto(idle.address)
    there, badge = page.locator("#queue-drawer"), page.locator("#queue .badge")
    page.wait_for_function("localStorage.getItem('dailies.queue.seen') !== null")
    failed, done = clip_job(jobs, "will fail"), clip_job(jobs, "will be done")
    for job, status, error in ((failed, "failed", "The device has no memory left."), (done, "done", "")):
        assert taken(jobs).id == job.id
        jobs.finish(job.id, status, error=error, result={"clip_ids": []} if status == "done" else None)
    log = idle.workspace.job_log(failed.id)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("first line\nout of memory\n")
    expect(page.locator("#queue .unread")).to_have_text("1")
    badge.click()
    expect(page.locator("#queue .unread")).to_be_hidden()
    mine = there.locator(f'.ended [data-id="{failed.id}"]')
    expect(mine).to_contain_text("The device has no memory left.")
    expect(mine).to_contain_text("seed 5")
    expect(mine).to_contain_text("64x64, 33 frames")
    expect(there.locator(f'.ended [data-id="{done.id}"] [data-do="log"]')).to_be_hidden()
    mine.locator('[data-do="log"]').click()
    expect(mine.locator("pre")).to_have_text("first line\nout of memory")
    there.locator('[name="ends"]').select_option("bad")
    expect(there.locator(f'.ended [data-id="{done.id}"]')).to_have_count(0)
    expect(mine).to_be_visible()
    page.keyboard.press("Escape")
    expect(there).to_be_hidden()
    expect(badge).to_be_focused()
    with watched.leaving():
        page.reload()
    expect(there.locator(f'.ended [data-id="{failed.id}"]')).to_have_count(1)
    expect(page.locator("#queue .unread")).to_be_hidden()


def test_many_jobs_take_one_line_of_a_tab(page: Page, idle: Any, jobs: JobQueue) -> None:
    for number in range(6):
        clip_job(jobs, f"number {number}")
    page.goto(idle.address)
    line = page.locator("#generate-jobs")
    expect(line).to_contain_text("number 0")
    expect(line).to_contain_text("+5 more")
    expect(page.locator("#queue .badge")).to_have_text("6 queued")
    box = line.bounding_box()
    assert box is not None and box["height"] < 48
    line.locator('[data-do="open"]').click()
    expect(page.locator("#queue-drawer .jobs .job")).to_have_count(6)


def test_more_cancelled_jobs_than_are_listed_all_count_as_cancelled(page: Page, idle: Any, jobs: JobQueue) -> None:
    page.goto(idle.address)
    page.get_by_role("tab", name=general.GENERATE, exact=True).click()
    for number in range(ENDED_SHOWN + 5):
        clip_job(jobs, f"prompt {number}")
    line = page.locator("#generate-jobs .job")
    expect(line).to_have_attribute("data-status", "queued")
    jobs.cancel_waiting()
    expect(line).to_have_attribute("data-status", "cancelled")
    expect(line).to_be_visible()
