"""Notifications: ended jobs and alarms, each once, and none from before the first request."""

import time
from collections.abc import Callable

import pytest

from app.context import AppContext
from app.queue_monitor import QueueMonitor
from app.views import notifications
from engine.config.presets import load_train_preset
from engine.jobs.spec import JobSpec, Status
from engine.jobs.worker_control import stop_worker
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.results import Alarm
from engine.runs.run import Run, alarms_since


def end(context: AppContext, status: Status, error: str = "") -> str:
    """A job of one clip that came to this end; its id."""
    job = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="a <b>red</b> circle")]))
    context.queue.claim(ProcessIdentity.current())
    context.queue.finish(job.id, status, error=error)
    return job.id


def alarm(step: int) -> Alarm:
    return Alarm(step=step, name="motion", sentence="Motion fell by half.", value=0.1, limit=0.2)


def test_only_what_comes_after_the_first_look_is_told_and_once(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_nft"))
    run.append_alarm(alarm(1))
    end(context, "done")
    first = notifications.news(context, {})
    assert first["notices"] == []
    assert notifications.news(context, first["seen"]) == first
    failed = end(context, "failed", "The loss is nan.")
    run.append_alarm(alarm(2))
    second = notifications.news(context, first["seen"])
    assert second["notices"] == [
        {"key": failed, "title": "Generate: 1 clip: a <b>red</b> circle failed", "body": "The loss is nan."},
        {"key": f"{run.id}/motion/2", "title": f"Alarm in run {run.id} at step 2", "body": "Motion fell by half."},
    ]
    assert notifications.news(context, second["seen"])["notices"] == []


def test_what_somebody_cancelled_is_no_news(context: AppContext) -> None:
    seen = notifications.news(context, {})["seen"]
    end(context, "cancelled")
    lost = end(context, "lost")
    assert [one["key"] for one in notifications.news(context, seen)["notices"]] == [lost]


def test_many_are_summed_up(context: AppContext) -> None:
    seen = notifications.news(context, {})["seen"]
    for _ in range(8):
        end(context, "done")
    told = notifications.news(context, seen)["notices"]
    assert [one["title"] for one in told][-1] == "And 3 more" and len(told) == notifications.SHOWN + 1


def test_what_was_seen_of_another_workspace_counts_for_nothing(context: AppContext) -> None:
    end(context, "done")
    asked = {"workspace": "elsewhere", "journal": 0, "alarms": {}}
    assert notifications.news(context, asked)["notices"] == []


def test_an_alarm_that_is_half_written_is_told_when_it_is_whole(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_nft"))
    run.append_alarm(alarm(1))
    line = alarm(2).model_dump_json() + "\n"
    with run.alarms_file.open("a") as file:
        file.write(line[:20])
        file.flush()
        found, seen = alarms_since(context.workspace, {})
        assert [one.step for _, one in found] == [1]
        file.write(line[20:])
    found, seen = alarms_since(context.workspace, seen)
    assert [one.step for _, one in found] == [2]
    run.alarms_file.write_text("")  # shorter than what was seen
    assert alarms_since(context.workspace, seen) == ([], {run.id: 0})


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


def test_the_queue_is_seen_to_while_nobody_looks(
    context: AppContext, until: Callable[[Callable[[], object]], None]
) -> None:
    """A job whose worker is gone is marked, and a worker is started for the one that waits."""
    dead = ProcessIdentity(host=ProcessIdentity.current().host, boot_id="another", pid=1, started_s=0.0)
    doomed = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
    context.queue.claim(dead)
    waiting = context.queue.submit(JobSpec.score(["0" * 16], "mini"))
    caretakers = [QueueMonitor(context.queue, period_s=0.05) for _ in range(2)]
    for caretaker in caretakers:
        caretaker.start()
    until(lambda: context.queue.get(doomed.id).status == "lost")
    until(lambda: context.queue.get(waiting.id).status == "failed")
    for caretaker in caretakers:
        caretaker.end()
    assert [entry.event for entry in context.queue.history(waiting.id)] == ["queued", "running", "failed"]
    stop_worker(context.workspace, timeout_s=60)
