"""Jobs in this process, with their progress on stderr."""

import sys
import time
from contextlib import closing
from typing import Any, TextIO

from engine.jobs.heartbeat import EtaEstimator
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress

LINE_WIDTH = 79


def run_to_end(steps: JobSteps) -> dict[str, Any]:
    """Run a job's handler to its end in this process, show its progress on stderr, and return its result."""
    estimator, meter = EtaEstimator(), ProgressMeter(sys.stderr)
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                meter.clear()
                return end.value
            meter.show(estimator.timed(progress, time.monotonic()))


class ProgressMeter:
    """A line that is overwritten on a terminal; elsewhere one line per phase."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live, self._phase = stream, stream.isatty(), ""

    def show(self, progress: JobProgress) -> None:
        if self._live:
            self._stream.write("\r" + describe(progress)[:LINE_WIDTH].ljust(LINE_WIDTH))
        elif progress.phase != self._phase:
            self._stream.write(f"{describe(progress)}\n")
        self._phase = progress.phase
        self._stream.flush()

    def clear(self) -> None:
        if self._live:
            self._stream.write("\r" + " " * LINE_WIDTH + "\r")
            self._stream.flush()


def describe(progress: JobProgress) -> str:
    """Return a job's progress in words, such as "denoise 7/20, 3 s left"."""
    steps = f" {progress.step}/{progress.of}" if progress.of else ""
    left = f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
    return f"{progress.phase}{steps}{left}"
