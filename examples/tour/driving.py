"""Run the steps of a tour with a journal: skip finished steps and resume an interrupted one."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata

from engine.cli.terminal.progress import run_to_end
from engine.errors import ConfigError, JobError
from engine.files.locks import try_lock
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.storage.library import Library
from examples.tour.settings import TourSize
from examples.tour.state import Journal, TourFiles
from examples.tour.steps import STEPS, Tour, TourStep
from examples.tour.voting import Judging

NOTED_EVERY_S = 2.0


@contextmanager
def alone(files: TourFiles) -> Iterator[None]:
    """Hold the lock of the tour. Raises JobError if another process holds it."""
    lock = try_lock(files.lock)
    if lock is None:
        raise JobError(f"Another process is running the tour in {files.workspace.root}. Wait until it ends.")
    try:
        yield
    finally:
        os.close(lock)


def begun(files: TourFiles, size: TourSize) -> Journal:
    """Return the journal of the existing tour, or start a new one.

    Raises ConfigError if the existing tour has another size.
    """
    known = files.journal()
    if known is None:
        known = Journal(size=size, began_at=datetime.now(UTC), machine=machine())
        files.keep(known)
    if known.size.name != size.name:
        raise ConfigError(
            f"{files.workspace.root} holds a tour of the size '{known.size.name}', but '{size.name}' was asked for: "
            "choose another folder with --workspace."
        )
    return known


def machine() -> dict[str, str | int]:
    """Describe this computer for the report: processor, device and versions."""
    from engine.hardware.device import device_facts

    facts = device_facts()
    return {
        "processor": facts.name,
        "cores": len(os.sched_getaffinity(0)),
        "device": facts.device,
        "torch": facts.torch_version,
        "python": platform.python_version(),
        "dailies": metadata.version("dailies"),
    }


def drive(files: TourFiles, size: TourSize) -> None:
    """Run all steps that are not done. An existing tour keeps the settings that it was started with."""
    with alone(files):
        journal = begun(files, size)
        store = Library(files.workspace)
        context = JobContext(store=store)
        judging = Judging(store, files.judged())
        try:
            for number, step in enumerate(STEPS, start=1):
                head = f"{number}/{len(STEPS)} {step.title}"
                if journal.step(step.key).is_done:
                    print(f"{head}: already done", flush=True)
                    continue
                print(f"{head} ({left(journal)})", flush=True)
                tour = Tour(size=journal.size, journal=journal, context=context, judging=judging)
                journal = carry_out(files, step, tour)
                print(f"    done in {told(journal.step(step.key).seconds)}", flush=True)
        finally:
            context.model.release()
            store.close()


def carry_out(files: TourFiles, step: TourStep, tour: Tour) -> Journal:
    """Run one step to its end and return the updated journal."""
    noting = Noting(files, tour.journal, step.key)
    made = run_to_end(noting.watched(step.run(tour)))
    files.keep_judged(tour.judging.known)
    return noting.finished(made)


class Noting:
    """Writes the run time of a step to the journal while it runs, in case the process is killed."""

    def __init__(self, files: TourFiles, journal: Journal, key: str) -> None:
        self._files, self._journal = files, journal
        before = journal.step(key)
        self._record = before.model_copy(update={"begun": before.begun + 1})
        self._before_s, self._began_s, self._noted_s = before.seconds, time.monotonic(), 0.0
        self._note()

    def watched(self, run: JobSteps) -> JobSteps:
        """Pass on the progress of `run` and write its time every `NOTED_EVERY_S` seconds."""
        try:
            while True:
                yield next(run)
                if time.monotonic() - self._noted_s > NOTED_EVERY_S:
                    self._note()
        except StopIteration as end:
            result: dict[str, object] = end.value
            return result
        finally:
            run.close()

    def finished(self, made: dict[str, object]) -> Journal:
        self._note(made)
        return self._journal

    def _note(self, made: dict[str, object] | None = None) -> None:
        self._noted_s = time.monotonic()
        seconds = round(self._before_s + self._noted_s - self._began_s, 2)
        self._record = self._record.model_copy(update={"seconds": seconds})
        record = self._record if made is None else self._record.done(made)
        self._journal = self._journal.with_step(record)
        self._files.keep(self._journal)


def left(journal: Journal) -> str:
    """Estimate the remaining time: the expected minutes of the open steps, scaled by the speed so far."""
    expected = {step.key: journal.size.minutes.get(step.key, 1.0) for step in STEPS}
    done = [one for one in journal.steps if one.is_done]
    spent = sum(one.seconds for one in done) / 60
    planned = sum(expected[one.key] for one in done)
    pace = spent / planned if planned else 1.0
    rest = sum(expected.values()) - planned
    return f"about {told(60 * rest * pace)} left"


def told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
