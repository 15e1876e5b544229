"""Runs that were stopped or refused: what happened is said, and what helps is offered where the job is seen."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import jobs as text
from app.text import monitor, training
from engine.config.presets import load_train_preset
from engine.execution.attempt import Attempt, ProcessSpec, keep_process
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import submit_run
from engine.jobs.spec import JobProgress
from engine.process_identity import ProcessIdentity
from engine.runs.run import Run
from engine.training.exit_codes import REFUSED

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WORDS = text.QUEUE_WORDS


def started(idle: Any, jobs: JobQueue) -> tuple[Run, str]:
    """A run whose job is under way."""
    run = Run.create(idle.workspace, load_train_preset("mini_nft"))
    submit_run(jobs, run)
    job = jobs.claim(ProcessIdentity.current())
    assert job is not None and job.config["run"] == run.id
    return run, job.id


def test_a_stopped_run_is_resumed_from_its_line_which_says_where(page: Page, idle: Any, jobs: JobQueue) -> None:
    run, job = started(idle, jobs)
    jobs.heartbeat(job, JobProgress(phase="train", step=1, of=8))
    page.goto(idle.address)
    page.get_by_role("tab", name=monitor.MONITOR, exact=True).click()
    line = page.locator("#monitor-jobs .job")
    expect(line).to_contain_text("step 1 of 8")
    run.append_metrics(2, {"of": 8})
    jobs.cancel(job)
    jobs.finish(job, "cancelled", error=f"Job {job} was cancelled.")
    expect(line.locator(".line")).to_have_text("Stopped at 2 / 8")
    expect(line.locator('[data-do="retry"]')).to_have_text(WORDS["resume_run"])
    line.locator('[data-do="retry"]').click()
    expect(line).to_have_attribute("data-status", "queued")
    assert [one.config["run"] for one in jobs.list("queued")] == [run.id]
    page.locator("#queue .badge").click()
    before = page.locator(f'#queue-drawer .ended [data-id="{job}"]')
    expect(before.locator(".state")).to_have_text(training.STATES["stopped"])
    expect(before.locator('[data-do="retry"]')).to_be_hidden()


def test_a_refused_run_is_cloned_from_the_queue(page: Page, idle: Any, jobs: JobQueue) -> None:
    run, job = started(idle, jobs)
    attempt = Attempt.begin(run.folder, ProcessSpec(argv=(), env={}, cwd=""))
    keep_process(run.folder, {"id": attempt.id})
    attempt.end(REFUSED)
    jobs.finish(job, "failed", error="The run was refused.")
    page.goto(idle.address)
    page.locator("#queue .badge").click()
    row = page.locator(f'#queue-drawer .ended [data-id="{job}"]')
    expect(row).to_contain_text("The run was refused.")
    expect(row.locator('[data-do="retry"]')).to_be_hidden()
    row.locator('[data-do="clone"]').click()
    expect(page.get_by_role("tab", name=training.TRAIN, exact=True)).to_have_attribute("aria-selected", "true")
    chosen = page.locator('#train-form select[name="preset"] option:checked')
    expect(chosen).to_have_text(training.FORM_WORDS["from_run"].format(run=run.id))
    expect(page.locator("#queue-drawer")).to_be_hidden()
