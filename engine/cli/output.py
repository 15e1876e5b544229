"""How the command line shows things: tables and JSON on stdout, progress on stderr."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from engine.jobs.kinds import JobSteps
    from engine.jobs.spec import JobProgress

LINE_WIDTH = 79


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest entry; an empty table is only its head."""
    texts = [list(head), *([str(entry) for entry in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for row in texts:
        print("  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip())


def shorten(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def run_to_end(run: "JobSteps") -> dict[str, Any]:
    """Run a job's handler to its end in this process, telling on stderr where it is, and return its result."""
    from engine.jobs.heartbeat import EtaEstimator

    pace, meter = EtaEstimator(), ProgressMeter(sys.stderr)
    with closing(run):
        while True:
            try:
                progress = next(run)
            except StopIteration as end:
                meter.clear()
                return end.value
            meter.show(pace.timed(progress, time.monotonic()))


class ProgressMeter:
    """One line that is overwritten on a terminal; elsewhere one line a phase."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live, self._phase = stream, stream.isatty(), ""

    def show(self, progress: "JobProgress") -> None:
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


def describe(progress: "JobProgress") -> str:
    """A job's progress in words: "denoise 7/20, 3 s left"."""
    steps = f" {progress.step}/{progress.of}" if progress.of else ""
    left = f", {progress.eta_s:.0f} s left" if progress.eta_s is not None else ""
    return f"{progress.phase}{steps}{left}"
