"""A clock for durations that are compared across processes: Unix time that setting the system clock does not change."""

import time


def _ticks_s() -> float:
    """Seconds of a clock that only counts up; on Linux it also counts while the machine is suspended."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class SteadyClock:
    """Unix time (s) as the system clock gave it when this object was created, counted on without that clock."""

    def __init__(self) -> None:
        self._offset_s = time.time() - _ticks_s()

    def unix_s(self) -> float:
        return self._offset_s + _ticks_s()
