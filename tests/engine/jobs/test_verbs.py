"""Actions on the whole queue: reorder, pause, cancel several jobs."""

import pytest

from engine.errors import JobError
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.storage.library import Library


@pytest.fixture
def queue(store: Library) -> JobQueue:
    return JobQueue(store)


def file(queue: JobQueue, count: int) -> list[str]:
    requests = [GenerationRequest(prompt="a red circle", seed=seed) for seed in range(count)]
    return [queue.submit(JobSpec.generate([request])).id for request in requests]


def order(queue: JobQueue) -> list[str]:
    """The ids in the order in which a worker takes them."""
    waiting = queue.list("queued")
    return [job.id for job in sorted(waiting, key=lambda job: job.position or 0)]


def take(queue: JobQueue) -> Job:
    job = queue.claim(ProcessIdentity.current())
    assert job is not None
    return job


@pytest.mark.parametrize(
    ("moved", "to", "after"),
    [(2, 1, [2, 0, 1, 3]), (0, 3, [1, 2, 0, 3]), (0, 99, [1, 2, 3, 0]), (3, -5, [3, 0, 1, 2]), (1, 2, [0, 1, 2, 3])],
)
def test_a_queued_job_is_moved_and_the_others_close_up(queue: JobQueue, moved: int, to: int, after: list[int]) -> None:
    ids = file(queue, 4)
    assert queue.move(ids[moved], to).position == after.index(moved) + 1
    assert order(queue) == [ids[index] for index in after]
    assert [take(queue).id for _ in ids] == [ids[index] for index in after]


def test_what_somebody_waits_for_goes_before_what_takes_long(queue: JobQueue) -> None:
    requests = [GenerationRequest(prompt="a red circle", seed=seed) for seed in range(20)]
    campaign = queue.submit(JobSpec.generate(requests))
    asked = queue.submit(JobSpec.generate(requests[:4]))
    patient = queue.submit(JobSpec(**{**dict(JobSpec.generate(requests[:1])), "priority": "low"}))
    assert [job.priority for job in (campaign, asked, patient)] == ["normal", "high", "low"]
    assert order(queue) == [asked.id, campaign.id, patient.id]
    assert queue.prioritise(patient.id, "high").position == 2
    assert queue.prioritise(asked.id, "low").position == 3
    assert order(queue) == [patient.id, campaign.id, asked.id]
    running = take(queue)
    with pytest.raises(JobError, match=f"Job {running.id} is running: only queued jobs have a priority"):
        queue.prioritise(running.id, "low")


def test_a_moved_job_takes_on_the_priority_of_its_neighbours(queue: JobQueue) -> None:
    """A job that was moved keeps its place when other jobs are submitted later."""
    requests = [GenerationRequest(prompt="a red circle", seed=seed) for seed in range(20)]
    high = queue.submit(JobSpec.generate(requests[:1]))
    normal, last = queue.submit(JobSpec.generate(requests)), queue.submit(JobSpec.generate(requests))
    assert queue.move(last.id, 1).priority == "high"
    assert order(queue) == [last.id, high.id, normal.id]
    assert queue.move(high.id, 3).priority == "normal"
    assert order(queue) == [last.id, normal.id, high.id]


def test_what_runs_has_no_place_and_keeps_its_own(queue: JobQueue) -> None:
    ids = file(queue, 3)
    running = take(queue)
    with pytest.raises(JobError, match=f"Job {running.id} cannot be moved: it is running"):
        queue.move(running.id, 2)
    queue.move(ids[2], 1)
    assert order(queue) == [ids[2], ids[1]] and queue.get(running.id).status == "running"


def test_a_paused_queue_starts_nothing_until_it_goes_on(queue: JobQueue) -> None:
    first, second = file(queue, 2)
    assert take(queue).id == first
    queue.pause()
    reopened = JobQueue(queue.store)
    assert reopened.is_paused and not reopened.is_waiting()
    assert reopened.claim(ProcessIdentity.current()) is None
    assert queue.get(first).status == "running" and queue.get(second).position == 1
    queue.resume()
    queue.resume()
    assert take(queue).id == second


def test_everything_that_waits_is_cancelled(queue: JobQueue) -> None:
    first, *rest = file(queue, 4)
    take(queue)
    assert set(queue.cancel_waiting()) == set(rest)
    assert queue.get(first).status == "running" and not queue.list("queued")
    assert queue.cancel_waiting() == []


def test_all_but_the_current_job_are_cancelled(queue: JobQueue) -> None:
    ids = file(queue, 4)
    current, other = take(queue), take(queue)
    assert set(queue.cancel_all_but_current()) == {other.id, *ids[2:]}
    assert queue.get(current.id).status == "running" and queue.get(other.id).status == "stopping"
