"""The current time, and a clock for durations across processes."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time as an aware datetime in UTC, like all times in the database."""
    return datetime.now(UTC)


def _ticks_s() -> float:
    """Return the seconds of a monotonic clock, which on Linux also counts while the machine is suspended."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class SteadyClock:
    """Unix time (s): the system clock's value when this object was created, advanced by a monotonic clock."""

    def __init__(self) -> None:
        self._offset_s = time.time() - _ticks_s()

    def unix_s(self) -> float:
        return self._offset_s + _ticks_s()
