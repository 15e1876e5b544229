"""Many jobs: cancelled in one transaction, shown in part, counted whole."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import event, func, select

from app.context import AppContext
from app.views import queue as queue_view
from engine.clock import now
from engine.config.presets import load_train_preset
from engine.errors import JobError
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import delete, resume, run_states
from engine.jobs.worker import IdleTimeouts, Worker
from engine.runs.run import Run
from engine.storage.library import Library
from engine.storage.schema import JOBS, JOURNAL

NUMBER = 1000


def row(number: int, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    fixed = {"status": "queued", "resources": {}, "priority": 0, "created_at": now()}
    return {"id": f"{number:08x}", "kind": kind, "config": config, **fixed, **more}


def put(store: Library, rows: Sequence[dict[str, Any]]) -> JobQueue:
    with store.database.writing() as connection:
        connection.execute(JOBS.insert(), rows)
    return JobQueue(store)


@pytest.fixture
def full(store: Library) -> JobQueue:
    """Clips that wait to be made."""
    request = {"prompt": "a ball", "model": "mini", "seed": 1}
    return put(store, [row(number, "generate", {"requests": [request], "mix": None}) for number in range(NUMBER)])


@pytest.fixture
def statements(store: Library) -> Iterator[list[str]]:
    """What the database is asked meanwhile."""
    asked: list[str] = []

    def listen(*told: object) -> None:
        asked.append(str(told[2]))

    event.listen(store.database._engine, "before_cursor_execute", listen)
    yield asked
    event.remove(store.database._engine, "before_cursor_execute", listen)


def test_all_that_wait_are_cancelled_at_once(full: JobQueue, statements: list[str]) -> None:
    assert len(full.cancel_waiting()) == NUMBER
    assert sum("UPDATE jobs" in one for one in statements) == 1
    with full.store.database.reading() as connection:
        ended = select(func.count()).select_from(JOURNAL).where(JOURNAL.c.event == "cancelled")
        assert connection.scalar(ended) == NUMBER
        assert connection.scalar(select(func.count()).where(JOBS.c.status == "queued")) == 0
    assert full.cancel_waiting() == []


def test_only_one_kind_is_cancelled(full: JobQueue) -> None:
    assert full.cancel_waiting("score") == []
    assert len(full.cancel_waiting(("score", "generate"))) == NUMBER


def test_the_board_shows_the_next_jobs_and_says_how_many_wait(full: JobQueue, statements: list[str]) -> None:
    full.pause()
    desk = AppContext(store=full.store, queue=full)
    shown = queue_view.queue_state(desk)
    assert [job["id"] for job in shown["jobs"]] == [f"{number:08x}" for number in range(queue_view.SHOWN)]
    assert [job["position"] for job in shown["jobs"]] == list(range(1, queue_view.SHOWN + 1))
    assert shown["waiting"] == NUMBER and shown["more"] == f"And {NUMBER - queue_view.SHOWN:,} more queued."
    assert len(statements) < 40


def test_what_waits_for_a_device_asks_once_who_has_it(full: JobQueue, statements: list[str]) -> None:
    """Not once for each of the jobs that are shown."""
    from engine.process_identity import ProcessIdentity

    full.claim(ProcessIdentity.current())
    desk = AppContext(store=full.store, queue=full)
    jobs, _ = full.board(queue_view.SHOWN)
    statements.clear()
    memory = queue_view.Reasons(desk)
    reasons = {memory.of(job) for job in jobs[2:]}
    assert reasons == {queue_view.Reasons(desk).of(jobs[2])}
    assert len(statements) < 10


def test_the_upload_of_the_oldest_of_many_waiting_jobs_is_kept(store: Library) -> None:
    upload = store.workspace.uploads / "kept-1" / "clip.mp4"
    upload.parent.mkdir(parents=True)
    upload.touch()
    os.utime(upload.parent, (0, 0))
    others = [row(number, "score", {"clip_ids": ["0"], "mix": "mini"}) for number in range(1, 1001)]
    queue = put(store, [row(0, "score", {"path": str(upload), "mix": "mini"}), *others])
    Worker(queue, IdleTimeouts())._recover()
    assert upload.exists()


def test_the_oldest_of_many_trainings_is_the_newest_of_its_run(store: Library) -> None:
    run = Run.create(store.workspace, load_train_preset("mini_nft"))
    ended = {"status": "lost", "resources": {"gpus": 0.5}}
    others = [row(number, "train", {"run": "another"}, **ended) for number in range(2, 1002)]
    waiting = [row(number, "score", {"clip_ids": ["0"], "mix": "mini"}) for number in range(1002, 2002)]
    evaluation = row(1, "evaluate", {"run": run.id})
    queue = put(store, [row(0, "train", {"run": run.id}, **ended), evaluation, *others, *waiting])
    assert [state.state for state in run_states(queue)] == ["lost"]
    with pytest.raises(JobError, match="is used by the job 00000001 .evaluate."):
        delete(queue, [run.id])
    assert resume(queue, run.id).resources == {"gpus": 0.5}
