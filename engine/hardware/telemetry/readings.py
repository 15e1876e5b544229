"""Telemetry readings. None means not reported; a missing number is never 0."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "absent", "error"]
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One GPU. `util_pct` 0..100, memory in bytes, `power_w` of the socket, `temp_c` of its hottest spot."""

    index: int
    vendor: Literal["amd", "nvidia"]
    name: str | None = None
    arch: str | None = None
    uuid: str | None = None
    bdf: str | None = None
    util_pct: float | None = None
    mem_used_b: int | None = None
    mem_total_b: int | None = None
    power_w: float | None = None
    temp_c: float | None = None
    clock_mhz: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """Result of one source: `ok` with GPUs, `absent` (no such tool or driver), or `error`.

    `sentence` gives the reason for `absent` and `error`.
    """

    source: str
    state: State
    gpus: tuple[GpuSample, ...] = ()
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySnapshot:
    """Readings at the time `at` (Unix time, s). `skipped` has those of failed sources before `source`."""

    at: float
    source: str
    gpus: tuple[GpuSample, ...]
    skipped: tuple[GpuReading, ...]
    cpu_pct: float
    ram_used_b: int
    ram_total_b: int
