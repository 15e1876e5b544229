"""Estimates of the remaining time, and how often they are written to the database."""

import pytest
from sqlalchemy import event

from engine.errors import JobCancelled
from engine.jobs.heartbeat import EtaEstimator, ProgressReporter
from engine.jobs.spec import JobProgress, JobSpec
from engine.process_identity import ProcessIdentity


def step(number: int, phase: str = "denoise") -> JobProgress:
    return JobProgress(phase=phase, step=number, of=20)


def test_the_time_left_follows_the_pace_of_the_phase():
    pace = EtaEstimator()
    assert pace.timed(step(0), 100.0).eta_s is None
    assert pace.timed(step(1), 102.0).eta_s == pytest.approx(38.0)
    assert pace.timed(step(10), 110.0).eta_s == pytest.approx(10.0)
    assert pace.timed(step(20), 120.0).eta_s == 0.0


def test_a_new_phase_is_timed_by_its_own_steps():
    pace = EtaEstimator()
    pace.timed(step(0, "load"), 0.0)
    pace.timed(step(1, "load"), 60.0)
    assert pace.timed(step(5), 61.0).eta_s is None
    assert pace.timed(step(6), 62.0).eta_s == pytest.approx(14.0)


def test_a_phase_that_begins_again_is_timed_anew():
    pace = EtaEstimator()
    pace.timed(step(10), 0.0)
    pace.timed(step(20), 10.0)
    assert pace.timed(step(0), 10.0).eta_s is None
    assert pace.timed(step(1), 10.5).eta_s == pytest.approx(9.5)


def test_a_thousand_quick_steps_are_few_writes(queue):
    job = queue.submit(JobSpec(kind="steps", config={}))
    queue.claim(ProcessIdentity.current())
    reporter = ProgressReporter(queue, job.id)
    updates = []
    event.listen(queue.store.database._engine, "before_cursor_execute", lambda *event: updates.append(event[2]))
    for number in range(1000):
        reporter.report(JobProgress(phase="denoise", step=number, of=1000))
    assert 1 <= sum("UPDATE jobs" in statement for statement in updates) < 50


def test_each_new_phase_is_written_at_once(queue):
    job = queue.submit(JobSpec(kind="steps", config={}))
    queue.claim(ProcessIdentity.current())
    reporter = ProgressReporter(queue, job.id)
    for phase in ("load", "encode", "denoise", "decode"):
        reporter.report(JobProgress(phase=phase, step=1, of=2))
        assert queue.get(job.id).progress.phase == phase


def test_a_report_learns_of_the_cancellation(queue):
    job = queue.submit(JobSpec(kind="steps", config={}))
    queue.claim(ProcessIdentity.current())
    queue.cancel(job.id)
    with pytest.raises(JobCancelled):
        ProgressReporter(queue, job.id).report(step(1))
