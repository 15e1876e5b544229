"""Time, step duration and memory of a training process, added to each logged row."""

import time

import psutil
import torch

from engine.clock import SteadyClock

GIB = 2**30


class ResourceMetrics:
    """Measure step times and memory between two readings."""

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
        """Return the metrics since the last reading.

        `at`: Unix time, unaffected by clock changes. `time/step`: mean in s. Memory in GiB; the device's is the peak.
        """
        metrics = {"at": round(self._clock.unix_s(), 3), "memory/process": psutil.Process().memory_info().rss / GIB}
        if self._steps_s:
            metrics["time/step"] = sum(self._steps_s) / len(self._steps_s)
            self._steps_s.clear()
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            metrics |= {
                "memory/allocated": torch.cuda.max_memory_allocated() / GIB,
                "memory/reserved": torch.cuda.max_memory_reserved() / GIB,
                "memory/device": (total - free) / GIB,
            }
        return metrics
