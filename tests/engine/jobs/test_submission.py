"""Jobs are submitted whole: one of what may be there once, and nothing is left of what could not be submitted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from engine.errors import JobError
from engine.jobs import submission
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec
from engine.jobs.submission import submit_exclusive, submit_job, submit_or_join

SPEC = JobSpec(kind="steps", config={"steps": 1})
KEY = "0123456789abcdef job"


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "ensure_worker", lambda workspace: True)


def windows(queue: JobQueue, monkeypatch: pytest.MonkeyPatch, file: Any) -> list[Job | BaseException]:
    """What two windows get that look at the queue before either files its job."""
    both, look = threading.Barrier(2), submission.same_as

    def look_together(*args: Any) -> Job | None:
        found = look(*args)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return found

    monkeypatch.setattr(submission, "same_as", look_together)
    with ThreadPoolExecutor(2) as threads:
        started = [threads.submit(file) for _ in range(2)]
    return [window.exception() or window.result() for window in started]


def test_of_two_windows_one_files_what_may_be_there_once(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = windows(
        queue, monkeypatch, lambda: submit_exclusive(JobQueue(queue.store, queue.kinds), SPEC, "The thing")
    )
    (refused,) = (answer for answer in answers if not isinstance(answer, Job))
    assert isinstance(refused, JobError) and str(refused).startswith("The thing is queued already")
    assert len(queue.list("queued")) == 1


def test_two_windows_share_one_job(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = windows(queue, monkeypatch, lambda: submit_or_join(JobQueue(queue.store, queue.kinds), SPEC))
    assert isinstance(first, Job) and isinstance(second, Job) and first.id == second.id
    assert len(queue.list("queued")) == 1


def refuse(*_: Any) -> bool:
    raise JobError("No worker can be started.")


def test_what_was_made_for_a_job_that_cannot_be_filed_is_discarded(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded: list[str] = []
    monkeypatch.setattr(submission, "ensure_worker", refuse)
    with pytest.raises(JobError, match="No worker"):
        submit_job(queue, SPEC, KEY, lambda: discarded.append("run"))
    assert discarded == ["run"] and queue.list() == []


def test_a_repeat_that_fails_keeps_what_the_first_request_made(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded: list[str] = []
    first = submit_job(queue, SPEC, KEY, lambda: discarded.append("run"))
    monkeypatch.setattr(submission, "ensure_worker", refuse)
    with pytest.raises(JobError, match="No worker"):
        submit_job(queue, SPEC, KEY, lambda: discarded.append("run"))
    assert discarded == [] and [job.id for job in queue.list()] == [first.id]
