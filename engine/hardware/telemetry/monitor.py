"""Telemetry of this machine's GPUs, from the first source that works:

    amd-smi -> amdgpu sysfs -> rocm-smi -> NVML -> none

What was verified on which hardware stands in README. A source that fails is left alone for a while, longer each time;
one that is absent is looked for again every few minutes, since drivers are installed while pages run.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import psutil

from engine.clock import SteadyClock
from engine.hardware.telemetry.amd_smi import AmdSmi
from engine.hardware.telemetry.amdgpu_sysfs import AmdgpuSysfs
from engine.hardware.telemetry.nvml import Nvml
from engine.hardware.telemetry.readings import GpuReading, TelemetrySnapshot
from engine.hardware.telemetry.rocm_smi import read_rocm_smi

Source = Callable[[], GpuReading]
NONE = "none"
SEEN_S = 5.0  # between two snapshots while somebody looks
SHARE = 0.01  # of the time may be spent on them: a tool that takes long is asked less often
ABSENT_S, FIRST_WAIT_S, LONGEST_WAIT_S = 300.0, 30.0, 600.0


def sources() -> tuple[Source, ...]:
    return AmdSmi(), AmdgpuSysfs(), read_rocm_smi, Nvml()


class Telemetry:
    """Asks the sources in order; keeps in mind which of them are not worth asking now."""

    def __init__(self, asked: Sequence[Source] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = tuple(asked) if asked is not None else sources()
        self._clock = clock
        self._resting: dict[int, tuple[float, float, GpuReading]] = {}
        self._moments = SteadyClock()
        psutil.cpu_percent()  # each answer is of the time since the last; the first would be 0

    def snapshot(self) -> TelemetrySnapshot:
        """Never raises for what a source does; with no source left there are no GPUs."""
        skipped: list[GpuReading] = []
        for position, source in enumerate(self._sources):
            reading = self._ask(position, source)
            if reading.state == "ok":
                return self._snapshot(reading, skipped)
            skipped.append(reading)
        return self._snapshot(GpuReading(source=NONE, state="absent"), skipped)

    def _ask(self, position: int, source: Source) -> GpuReading:
        until, wait_s, last = self._resting.get(position, (0.0, 0.0, None))
        if last is not None and self._clock() < until:
            return last
        reading = source()
        if reading.state == "ok":
            self._resting.pop(position, None)
        else:
            longer = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * wait_s)) if reading.state == "error" else ABSENT_S
            self._resting[position] = (self._clock() + longer, longer, reading)
        return reading

    def _snapshot(self, reading: GpuReading, skipped: Sequence[GpuReading]) -> TelemetrySnapshot:
        memory = psutil.virtual_memory()
        return TelemetrySnapshot(
            at=self._moments.unix_s(),
            source=reading.source,
            gpus=reading.gpus,
            skipped=tuple(skipped),
            cpu_pct=psutil.cpu_percent(),
            ram_used_b=int(memory.total - memory.available),
            ram_total_b=int(memory.total),
        )


class TelemetryMonitor:
    """One thread that takes snapshots: often while somebody looks, seldom while nobody does, and never for more than
    `SHARE` of the time.

    `history` holds the last `keep` of them, oldest first.
    """

    def __init__(
        self, telemetry: Telemetry, *, seen_s: float = SEEN_S, unseen_s: float = 60.0, keep: int = 720
    ) -> None:
        self._telemetry = telemetry
        self._seen_s, self._unseen_s = seen_s, unseen_s
        self._taken: deque[TelemetrySnapshot] = deque(maxlen=keep)
        self._looked_s = float("-inf")
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def look(self) -> list[TelemetrySnapshot]:
        """What was sampled so far; sampling is brisk for a while after each look. The first look starts the thread."""
        with self._lock:
            self._looked_s = time.monotonic()
            if self._thread is None:
                self._taken.append(self._telemetry.snapshot())
                self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
                self._thread.start()
        self._wake.set()
        return list(self._taken)

    def _run(self) -> None:
        last_s, cost_s = time.monotonic(), 0.0
        while True:
            watched = time.monotonic() - self._looked_s < 3 * self._seen_s
            period_s = max(self._seen_s if watched else self._unseen_s, cost_s / SHARE)
            due_s = last_s + period_s - time.monotonic()
            if due_s > 0:
                self._wake.clear()
                self._wake.wait(due_s)
                continue
            last_s = time.monotonic()
            self._taken.append(self._telemetry.snapshot())
            cost_s = time.monotonic() - last_s
