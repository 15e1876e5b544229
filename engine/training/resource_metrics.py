"""What a training process tells of itself with each log: the moment, the pace, and the memory that it takes."""

import time

import psutil
import torch

from engine.clock import SteadyClock

GIB = 2**30


class ResourceMetrics:
    """Times steps between two readings."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._steps_s: list[float] = []
        self._clock = SteadyClock()

    def begin_step(self) -> None:
        self._began_s = time.perf_counter()

    def end_step(self) -> None:
        if self._began_s is not None:
            self._steps_s.append(time.perf_counter() - self._began_s)
            self._began_s = None

    def read(self) -> dict[str, float]:
        """`at` in Unix time that no setting of the clock changes, `time/step` the mean since the last reading in s,
        memory in GiB (device: peak so far)."""
        found = {"at": round(self._clock.unix_s(), 3), "memory/process": psutil.Process().memory_info().rss / GIB}
        if self._steps_s:
            found["time/step"] = sum(self._steps_s) / len(self._steps_s)
            self._steps_s.clear()
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            found |= {
                "memory/allocated": torch.cuda.max_memory_allocated() / GIB,
                "memory/reserved": torch.cuda.max_memory_reserved() / GIB,
                "memory/device": (total - free) / GIB,
            }
        return found
