"""A run's metrics in columnar form, read incrementally and downsampled for plots. Imports no torch.

metrics.jsonl is the source and append-only; a torn last line is read once it is complete. Parsed columns are cached in
the workspace, so that a restarted page does not parse them again: 20,000 rows open in about a millisecond.
"""

import json
import os
import secrets
import zlib
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.files.atomic import partial_file
from engine.files.json_lines import metric_columns, metric_row
from engine.files.path_property import PathProperty
from engine.runs.run import Run

CHUNK_BYTES = 4 * 2**20
WORTH_KEEPING_BYTES = 256 * 2**10
MANY_BYTES = 64 * 2**10  # from here on, reading rows together is faster than one by one
TAIL_BYTES = 256
MOMENT = "at"


class MetricSeries:
    """Steps (rising) and values of one metric: an array from the cache, and values read since."""

    def __init__(self, steps: np.ndarray | None = None, values: np.ndarray | None = None) -> None:
        self._old_steps = np.empty(0) if steps is None else steps
        self._old_values = np.empty(0) if values is None else values
        self._steps, self._values = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._old_steps) + len(self._steps)

    @property
    def last_step(self) -> float:
        if self._steps:
            return self._steps[-1]
        return float(self._old_steps[-1]) if len(self._old_steps) else -1.0

    def add(self, step: float, value: float) -> None:
        """Append a value; a repeated step, as after a resume, first drops the values from that step on."""
        if step <= self.last_step:
            self.cut(step)
        self._steps.append(step)
        self._values.append(value)

    def extend(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Append values `float64[n]` of rising steps; the first step is handled as `add` does."""
        if len(steps) and steps[0] <= self.last_step:
            self.cut(float(steps[0]))
        self._steps.frombytes(steps.tobytes())
        self._values.frombytes(values.tobytes())

    def cut(self, step: float) -> None:
        """Drop the values at this step and later ones."""
        while self._steps and self._steps[-1] >= step:
            self._steps.pop()
            self._values.pop()
        if not self._steps:
            kept = int(np.searchsorted(self._old_steps, step))
            self._old_steps, self._old_values = self._old_steps[:kept], self._old_values[:kept]

    def points(self, after: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values `float64[n]` of the steps after `after`."""
        steps = np.concatenate([self._old_steps, np.array(self._steps)])
        values = np.concatenate([self._old_values, np.array(self._values)])
        first = int(np.searchsorted(steps, after, side="right"))
        return steps[first:], values[first:]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Paths of a run's three files in the cache."""

    folder: Path
    run: str

    head = PathProperty(lambda self: self.folder / f"{self.run}.json")
    steps = PathProperty(lambda self: self.folder / f"{self.run}.steps.npy")
    values = PathProperty(lambda self: self.folder / f"{self.run}.values.npy")


class MetricStore:
    """All metrics of one run. `epoch` changes when earlier values are replaced or inserted.

    Its first value is random, so that a client notices a restarted page.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.epoch = secrets.randbits(40)
        self.columns: dict[str, MetricSeries] = {}
        self.damaged = 0
        """The number of complete but unreadable lines since the last reading from the start."""
        self._offset, self._tail, self._saved, self._newest = 0, b"", 0, -1.0
        self._kept = _Kept(run.workspace.metric_columns, run.id)
        self._load()

    @property
    def last_step(self) -> float:
        return max((column.last_step for column in self.columns.values()), default=0.0)

    def last(self, name: str) -> float | None:
        column = self.columns.get(name)
        return float(column.points(column.last_step - 1e-9)[1][-1]) if column is not None and len(column) else None

    def read_new(self, limit_bytes: int = CHUNK_BYTES) -> int:
        """Read at most `limit_bytes` of new rows and return the number of unread bytes."""
        try:
            with self.run.metrics_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._offset or not self._same_file(file):
                    self._forget()
                file.seek(self._offset)
                taken = file.read(limit_bytes)
        except FileNotFoundError:
            return 0
        whole = taken[: taken.rfind(b"\n") + 1]
        if len(whole) < MANY_BYTES or not self._take_columns(whole):
            for line in whole.split(b"\n"):
                self._take(line)
        self._offset += len(whole)
        self._tail = (self._tail + whole)[-TAIL_BYTES:]
        if self._offset - self._saved > WORTH_KEEPING_BYTES:
            self._save()
        return size - self._offset if whole else 0

    def _same_file(self, file: Any) -> bool:
        """Return True when the bytes before our offset are those that were read.

        The file may have been replaced.
        """
        file.seek(self._offset - len(self._tail))
        return bool(file.read(len(self._tail)) == self._tail)

    def _take(self, line: bytes) -> None:
        """Add one row; unreadable lines are counted and skipped."""
        row = metric_row(line)
        if row is None:
            self.damaged += bool(line.strip())
            return
        step = float(row.pop("step"))
        self._turn_to(step)
        for name, value in row.items():
            self.columns.setdefault(name, MetricSeries()).add(step, float(value))

    def _take_columns(self, text: bytes) -> bool:
        """Add many rows at once. Return False, and add nothing, when each line must be read by itself."""
        columns = metric_columns(text)
        if columns is None:
            return False
        steps = columns.pop("step")
        starts = [0, *(np.flatnonzero(np.diff(steps) <= 0) + 1).tolist(), len(steps)]
        for start, end in pairwise(starts):  # steps rise from start to end
            self._turn_to(float(steps[start]))
            self._newest = float(steps[end - 1])
            for name, values in columns.items():
                here = start + np.flatnonzero(np.isfinite(values[start:end]))
                if len(here):
                    self.columns.setdefault(name, MetricSeries()).extend(steps[here], values[here])
        return True

    def _turn_to(self, step: float) -> None:
        """Move to a step.

        After a resume from an earlier step, drop the values after it, which are computed again.

        A repeated last step adds values, such as those of its samples, that a client may have missed.
        """
        if step <= self._newest:
            self.epoch += 1
        if step < self._newest:
            for column in self.columns.values():
                column.cut(np.nextafter(step, np.inf))
        self._newest = step

    def _forget(self) -> None:
        self.columns, self._offset, self._tail, self._saved, self._newest = {}, 0, b"", 0, -1.0
        self.damaged = 0
        self.epoch += 1

    def _save(self) -> None:
        """Cache the columns; failures to write are ignored."""
        names = list(self.columns)
        points = [self.columns[name].points() for name in names]
        head = {
            "offset": self._offset,
            "tail": zlib.crc32(self._tail),
            "tail_bytes": len(self._tail),
            "damaged": self.damaged,
            "columns": {name: len(steps) for name, (steps, _) in zip(names, points, strict=True)},
        }
        try:
            self._kept.folder.mkdir(parents=True, exist_ok=True)
            for path, part in ((self._kept.steps, 0), (self._kept.values, 1)):
                with partial_file(path) as partial, partial.open("wb") as file:
                    np.save(file, np.concatenate([pair[part] for pair in points]))
            with partial_file(self._kept.head) as partial:
                partial.write_text(json.dumps(head), encoding="utf-8")
        except OSError:
            return
        self._saved = self._offset

    def _load(self) -> None:
        """Load the cached columns if they match the current file."""
        try:
            head = json.loads(self._kept.head.read_text(encoding="utf-8"))
            steps, values = (np.load(path, mmap_mode="r") for path in (self._kept.steps, self._kept.values))
            with self.run.metrics_file.open("rb") as file:
                file.seek(head["offset"] - head["tail_bytes"])
                tail = file.read(head["tail_bytes"])
            lengths = head["columns"]
            if zlib.crc32(tail) != head["tail"] or not len(steps) == len(values) == sum(lengths.values()):
                return
        except (OSError, ValueError, KeyError, TypeError):
            return
        at = 0
        for name, length in lengths.items():
            self.columns[name] = MetricSeries(steps[at : at + length], values[at : at + length])
            at += length
        self._offset = self._saved = head["offset"]
        self.damaged = int(head.get("damaged", 0))
        self._tail, self._newest = tail, self.last_step


def downsample(steps: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return about `most` points at most: the extremes of each segment, and the first and last point."""
    count, num_segments = len(steps), max(1, (most - 2) // 2)
    if count <= most:
        return steps, values
    width = count // num_segments
    cut = values[: width * num_segments].reshape(num_segments, width)
    starts = np.arange(num_segments) * width
    chosen = [[0, count - 1], starts + cut.argmin(axis=1), starts + cut.argmax(axis=1)]
    rest = values[width * num_segments :]
    if len(rest):
        chosen.append(width * num_segments + np.array([rest.argmin(), rest.argmax()]))
    index = np.unique(np.concatenate(chosen))
    return steps[index], values[index]
