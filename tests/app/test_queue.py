"""Rows of the header's queue: how jobs ended, and what can be done about it."""

from datetime import timedelta
from typing import Any

import pytest

from app.context import AppContext
from app.text import jobs as text
from app.views import queue as view
from app.views.queue import queue_state
from engine.clock import now
from engine.config.presets import load_train_preset
from engine.execution.attempt import Attempt, ProcessSpec, keep_process
from engine.jobs.runs.run_actions import submit_run
from engine.jobs.spec import Job, JobProgress, JobSpec, Status
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.training.exit_codes import REFUSED

pytestmark = pytest.mark.usefixtures("no_worker")

RETRY, RESUME = text.QUEUE_WORDS["retry"], text.QUEUE_WORDS["resume_run"]


@pytest.fixture
def run(context: AppContext) -> Run:
    return Run.create(context.workspace, load_train_preset("mini_nft"))


def taken(context: AppContext) -> Job:
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None
    return job


def ended(context: AppContext, status: Status, error: str = "", step: int = 0) -> Job:
    """The next job ends so, after an update of eight if `step`."""
    job = taken(context)
    if step:
        context.queue.heartbeat(job.id, JobProgress(phase="train", step=step, of=8))
    context.queue.finish(job.id, status, error=error)
    return job


def attempt(run: Run, code: int, *, killed: bool = False) -> None:
    made = Attempt.begin(run.folder, ProcessSpec(argv=(), env={}, cwd=""))
    keep_process(run.folder, {"id": made.id})
    if killed:
        made.ask_to_stop(0)
    made.end(code)


def newest(context: AppContext) -> dict[str, Any]:
    return dict(queue_state(context)["ended"][0])


def test_a_run_that_was_stopped_says_where_and_is_resumed_once(context: AppContext, run: Run) -> None:
    submit_run(context.queue, run)
    job = ended(context, "cancelled", step=1)
    run.append_metrics(2, {"of": 8})  # the update that it was in, and its checkpoint
    row = newest(context)
    assert (row["state"], row["line"], row["can_retry"], row["retry"]) == ("Stopped at 2 / 8", "", True, RESUME)
    context.submit_again(job.id)
    assert not newest(context)["can_retry"], "the run goes on"
    ended(context, "cancelled")
    rows = queue_state(context)["ended"]
    assert [row["can_retry"] for row in rows] == [True, False], "the newest job speaks for the run"
    assert rows[1]["state"] == "Stopped"


def test_a_run_whose_settings_were_refused_is_cloned(context: AppContext, run: Run) -> None:
    submit_run(context.queue, run)
    attempt(run, REFUSED)
    ended(context, "failed", "The run was refused.")
    row = newest(context)
    assert (row["can_retry"], row["can_clone"], row["run"]) == (False, True, run.id)


def test_a_run_that_was_killed_says_so(context: AppContext, run: Run) -> None:
    submit_run(context.queue, run)
    attempt(run, -9, killed=True)
    ended(context, "cancelled", step=3)
    assert (newest(context)["state"], newest(context)["can_retry"]) == ("Killed", True)


def test_clips_that_were_cancelled_are_tried_again(context: AppContext) -> None:
    job = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="a star")]))
    taken(context)
    context.queue.cancel(job.id)
    context.queue.finish(job.id, "cancelled", error=f"Job {job.id} was cancelled.")
    row = newest(context)
    assert (row["state"], row["line"], row["can_retry"], row["retry"]) == ("Cancelled", "", True, RETRY)


def test_a_job_that_does_not_stop_can_be_killed(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    job = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="a star")]))
    taken(context)
    context.queue.cancel(job.id)
    assert not queue_state(context)["jobs"][0]["can_kill"]
    monkeypatch.setattr(view, "now", lambda: now() + timedelta(seconds=view.PATIENCE_S + 1))
    assert queue_state(context)["jobs"][0]["can_kill"]
    context.queue.finish(job.id, "cancelled")
