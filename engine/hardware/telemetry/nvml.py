"""NVIDIA's management library, through nvidia-ml-py.

A value that a card does not support is None, not 0.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from engine.hardware.telemetry.readings import GpuReading, GpuSample

SOURCE = "NVML"


class Nvml:
    """Telemetry source; `library` is the module `pynvml`."""

    def __init__(self, library: ModuleType | Any = None) -> None:
        self._library = library

    def __call__(self) -> GpuReading:
        if self._library is None:
            import pynvml

            self._library = pynvml
        library = self._library
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
        except library.NVMLError as error:
            return GpuReading(source=SOURCE, state="absent", sentence=f"NVML: {error}.")
        gpus = [gpu for index in range(count) if (gpu := self._gpu(index)) is not None]
        if not gpus:
            return GpuReading(source=SOURCE, state="absent", sentence="NVML: no GPU.")
        return GpuReading(source=SOURCE, state="ok", gpus=tuple(gpus))

    def _gpu(self, index: int) -> GpuSample | None:
        """Return a sample of a GPU; None if it has fallen off the bus."""
        library = self._library
        handle = self._try(partial(library.nvmlDeviceGetHandleByIndex, index))
        if handle is None:
            return None
        memory = self._try(partial(library.nvmlDeviceGetMemoryInfo, handle))
        use = self._try(partial(library.nvmlDeviceGetUtilizationRates, handle))
        power = self._try(partial(library.nvmlDeviceGetPowerUsage, handle))
        bus = self._try(partial(library.nvmlDeviceGetPciInfo, handle))
        return GpuSample(
            index=index,
            vendor="nvidia",
            name=_text(self._try(partial(library.nvmlDeviceGetName, handle))),
            uuid=_text(self._try(partial(library.nvmlDeviceGetUUID, handle))),
            bdf=_text(bus.busId) if bus else None,
            util_pct=float(use.gpu) if use else None,
            mem_used_b=int(memory.used) if memory else None,
            mem_total_b=int(memory.total) if memory else None,
            power_w=power / 1000 if power is not None else None,
            temp_c=self._try(partial(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU)),
            clock_mhz=self._try(partial(library.nvmlDeviceGetClockInfo, handle, library.NVML_CLOCK_SM)),
        )

    def _try(self, query: Callable[[], Any]) -> Any:
        try:
            return query()
        except self._library.NVMLError:
            return None


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
