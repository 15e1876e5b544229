"""AMD's `amd-smi`, by its command line: the `amdsmi` package breaks other imports where there is no ROCm.

`metric --json` is a list up to ROCm 6.4 and {"gpu_data": [...]} after it. A leaf is {"value": 42, "unit": "%"}, a bare
value, a list, {"xcp_0": [...]} of partitions, or "N/A"; so may be a whole section. "MB" there means MiB. The watch mode
is never used: it prints a line that is no JSON, or nothing at all.
"""

import math
from collections.abc import Mapping
from typing import Any

from engine.hardware.telemetry.command_json import ToolFailed, ask, find_tool, first_json
from engine.hardware.telemetry.readings import MIB, GpuReading, GpuSample

SOURCE = "amd-smi"
UNITS = {"B": 1, "KB": 2**10, "MB": MIB, "GB": 2**30, "KIB": 2**10, "MIB": MIB, "GIB": 2**30}


class AmdSmi:
    """Asks the tool for numbers each time, and for names once."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, str | None]] | None = None

    def __call__(self) -> GpuReading:
        tool = find_tool(SOURCE)
        if tool is None:
            return GpuReading(source=SOURCE, state="absent", sentence="amd-smi is not installed.")
        try:
            rows = gpu_rows(first_json(ask([tool, "metric", "--json"])))
            if self._known is None:
                self._known = self._names(tool)
        except ToolFailed as error:
            return GpuReading(source=SOURCE, state="error", sentence=f"amd-smi {error}.")
        return GpuReading(source=SOURCE, state="ok", gpus=tuple(read_gpu(row, self._known) for row in rows))

    def _names(self, tool: str) -> dict[int, dict[str, str | None]]:
        """Names by GPU; none where this version's `static` does not work, for the numbers do without."""
        try:
            rows = gpu_rows(first_json(ask([tool, "static", "--json"])))
        except ToolFailed:
            return {}
        return {int(row["gpu"]): _static(row) for row in rows}


def gpu_rows(found: Any) -> list[Mapping[str, Any]]:
    """A mapping for each GPU, of either form of the output. Raises ToolFailed when it names no GPU."""
    rows = found.get("gpu_data", [found]) if isinstance(found, Mapping) else found
    gpus = [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("gpu"), int)]
    if not gpus:
        raise ToolFailed("printed JSON that names no GPU")
    return gpus


def read_gpu(row: Mapping[str, Any], names: Mapping[int, Mapping[str, str | None]]) -> GpuSample:
    index = int(row["gpu"])
    return GpuSample(
        index=index,
        vendor="amd",
        **names.get(index, {}),
        util_pct=_first(row, ("usage", "gfx_activity"), ("usage", "gfx_busy_inst")),
        mem_used_b=_bytes(row, "mem_usage", "used_vram"),
        mem_total_b=_bytes(row, "mem_usage", "total_vram"),
        power_w=_first(row, ("power", "socket_power"), ("power", "current_socket_power")),
        temp_c=_first(row, ("temperature", "hotspot"), ("temperature", "edge")),
        clock_mhz=_first(row, ("clock", "gfx_0", "clk"), ("clock", "gfx", "clk")),
    )


def number(leaf: Any) -> float | None:
    """A leaf's number; of several, such as those of partitions, the mean of those that there are."""
    if isinstance(leaf, bool):
        return None
    if isinstance(leaf, int | float):
        return float(leaf) if math.isfinite(leaf) else None
    if isinstance(leaf, str):
        return _parsed(leaf)
    if isinstance(leaf, Mapping) and "value" in leaf:
        return number(leaf["value"])
    parts = leaf.values() if isinstance(leaf, Mapping) else leaf if isinstance(leaf, list) else ()
    numbers = [found for part in parts if (found := number(part)) is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _parsed(words: str) -> float | None:
    try:
        found = float(words)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _leaf(row: Mapping[str, Any], *path: str) -> Any:
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _first(row: Mapping[str, Any], *paths: tuple[str, ...]) -> float | None:
    return next((found for path in paths if (found := number(_leaf(row, *path))) is not None), None)


def _bytes(row: Mapping[str, Any], *path: str) -> int | None:
    leaf = _leaf(row, *path)
    amount, unit = number(leaf), leaf.get("unit", "MB") if isinstance(leaf, Mapping) else "MB"
    scale = UNITS.get(str(unit).upper())
    return None if amount is None or scale is None else round(amount * scale)


def _static(row: Mapping[str, Any]) -> dict[str, str | None]:
    found = {"name": ("asic", "market_name"), "arch": ("asic", "target_graphics_version"), "bdf": ("bus", "bdf")}
    return {key: _words(_leaf(row, *path)) for key, path in found.items()}


def _words(leaf: Any) -> str | None:
    return leaf if isinstance(leaf, str) and leaf not in ("", "N/A") else None
