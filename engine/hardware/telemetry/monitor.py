"""Telemetry of this machine's GPUs, from the first source that works:

    amd-smi -> amdgpu sysfs -> NVML -> none

docs/index.md lists the verified hardware. A failing source is retried with increasing delays. An absent source is
retried every few minutes, since drivers may be installed while the page runs.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache

import psutil

from engine.clock import SteadyClock
from engine.hardware.telemetry.amd_smi import AmdSmi
from engine.hardware.telemetry.amdgpu_sysfs import AmdgpuSysfs
from engine.hardware.telemetry.nvml import Nvml
from engine.hardware.telemetry.readings import GpuReading, TelemetrySnapshot

Source = Callable[[], GpuReading]
NONE = "none"
VIEWED_S = 5.0  # between two snapshots while the page shows them
MAX_SHARE = 0.01  # of the time spent on snapshots: a slow tool is run less often
ABSENT_S, MIN_WAIT_S, MAX_WAIT_S = 300.0, 30.0, 600.0


def sources() -> tuple[Source, ...]:
    return AmdSmi(), AmdgpuSysfs(), Nvml()


class Telemetry:
    """Reads the sources in order, skipping those that failed recently."""

    def __init__(self, readers: Sequence[Source] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = tuple(readers) if readers is not None else sources()
        self._clock = clock
        self._paused: dict[int, tuple[float, float, GpuReading]] = {}
        self._timestamps = SteadyClock()
        psutil.cpu_percent()  # measures since the previous call; the first call returns 0

    def snapshot(self) -> TelemetrySnapshot:
        """Return a snapshot; without a working source it has no GPUs. Never raises because of a source."""
        skipped: list[GpuReading] = []
        for position, source in enumerate(self._sources):
            reading = self._read(position, source)
            if reading.state == "ok":
                return self._snapshot(reading, skipped)
            skipped.append(reading)
        return self._snapshot(GpuReading(source=NONE, state="absent"), skipped)

    def _read(self, position: int, source: Source) -> GpuReading:
        until, wait_s, last = self._paused.get(position, (0.0, 0.0, None))
        if last is not None and self._clock() < until:
            return last
        reading = source()
        if reading.state == "ok":
            self._paused.pop(position, None)
        else:
            next_wait_s = min(MAX_WAIT_S, max(MIN_WAIT_S, 2 * wait_s)) if reading.state == "error" else ABSENT_S
            self._paused[position] = (self._clock() + next_wait_s, next_wait_s, reading)
        return reading

    def _snapshot(self, reading: GpuReading, skipped: Sequence[GpuReading]) -> TelemetrySnapshot:
        memory = psutil.virtual_memory()
        return TelemetrySnapshot(
            at=self._timestamps.unix_s(),
            source=reading.source,
            gpus=reading.gpus,
            skipped=tuple(skipped),
            cpu_pct=psutil.cpu_percent(),
            ram_used_b=int(memory.total - memory.available),
            ram_total_b=int(memory.total),
        )


@cache
def device_gib() -> float:
    """Return the memory of the first GPU in GiB, or of the machine if it has none."""
    snapshot = Telemetry().snapshot()
    sizes = [gpu.mem_total_b for gpu in snapshot.gpus if gpu.mem_total_b]
    return (sizes[0] if sizes else snapshot.ram_total_b) / 2**30


class TelemetryMonitor:
    """Background thread that takes snapshots, often while the page shows them, rarely otherwise.

    Snapshots take at most `MAX_SHARE` of the time. The last `keep` of them are kept.
    """

    def __init__(
        self, telemetry: Telemetry, *, viewed_s: float = VIEWED_S, idle_s: float = 60.0, keep: int = 720
    ) -> None:
        self._telemetry = telemetry
        self._viewed_s, self._idle_s = viewed_s, idle_s
        self._snapshots: deque[TelemetrySnapshot] = deque(maxlen=keep)
        self._last_view_s = float("-inf")
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def history(self) -> list[TelemetrySnapshot]:
        """Return the snapshots, oldest first.

        Each call speeds up sampling for a while; the first call starts the thread.
        """
        with self._lock:
            self._last_view_s = time.monotonic()
            if self._thread is None:
                self._snapshots.append(self._telemetry.snapshot())
                self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
                self._thread.start()
        self._wake.set()
        return list(self._snapshots)

    def _run(self) -> None:
        last_s, cost_s = time.monotonic(), 0.0
        while True:
            is_viewed = time.monotonic() - self._last_view_s < 3 * self._viewed_s
            period_s = max(self._viewed_s if is_viewed else self._idle_s, cost_s / MAX_SHARE)
            due_s = last_s + period_s - time.monotonic()
            if due_s > 0:
                self._wake.clear()
                self._wake.wait(due_s)
                continue
            last_s = time.monotonic()
            self._snapshots.append(self._telemetry.snapshot())
            cost_s = time.monotonic() - last_s
