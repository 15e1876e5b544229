"""AMD's `amd-smi` command line tool. The `amdsmi` package breaks other imports without ROCm.

`metric --json` is a list up to ROCm 6.4 and {"gpu_data": [...]} after it. A leaf is {"value": 42, "unit": "%"}, a bare
value, a list, {"xcp_0": [...]} of partitions, or "N/A"; a whole section may be "N/A" too. "MB" means MiB. The watch
mode is not used: it prints a line that is not JSON, or nothing at all.
"""

import math
from collections.abc import Mapping
from typing import Any

from engine.hardware.telemetry.command_json import ToolError, find_tool, first_json, run_tool
from engine.hardware.telemetry.readings import MIB, GpuReading, GpuSample

SOURCE = "amd-smi"
UNITS = {"B": 1, "KB": 2**10, "MB": MIB, "GB": 2**30, "KIB": 2**10, "MIB": MIB, "GIB": 2**30}


class AmdSmi:
    """Telemetry source that reads numbers at each call, and names once."""

    def __init__(self) -> None:
        self._gpu_names: dict[int, dict[str, str | None]] | None = None

    def __call__(self) -> GpuReading:
        tool = find_tool(SOURCE)
        if tool is None:
            return GpuReading(source=SOURCE, state="absent", sentence="amd-smi is not installed.")
        try:
            rows = gpu_rows(first_json(run_tool([tool, "metric", "--json"])))
            if self._gpu_names is None:
                self._gpu_names = self._names(tool)
        except ToolError as error:
            return GpuReading(source=SOURCE, state="error", sentence=f"amd-smi {error}.")
        return GpuReading(source=SOURCE, state="ok", gpus=tuple(read_gpu(row, self._gpu_names) for row in rows))

    def _names(self, tool: str) -> dict[int, dict[str, str | None]]:
        """Return names by GPU; empty if this version's `static` does not work, since they are optional."""
        try:
            rows = gpu_rows(first_json(run_tool([tool, "static", "--json"])))
        except ToolError:
            return {}
        return {int(row["gpu"]): _static(row) for row in rows}


def gpu_rows(output: Any) -> list[Mapping[str, Any]]:
    """Return a mapping per GPU from either form of the output. Raises ToolError when it lists no GPU."""
    rows = output.get("gpu_data", [output]) if isinstance(output, Mapping) else output
    gpus = [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("gpu"), int)]
    if not gpus:
        raise ToolError("printed JSON without a GPU")
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
    """Return a leaf's number; the mean of several numbers, such as those of partitions."""
    if isinstance(leaf, bool):
        return None
    if isinstance(leaf, int | float):
        return float(leaf) if math.isfinite(leaf) else None
    if isinstance(leaf, str):
        return _parsed(leaf)
    if isinstance(leaf, Mapping) and "value" in leaf:
        return number(leaf["value"])
    parts = leaf.values() if isinstance(leaf, Mapping) else leaf if isinstance(leaf, list) else ()
    numbers = [value for part in parts if (value := number(part)) is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _parsed(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _leaf(row: Mapping[str, Any], *path: str) -> Any:
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _first(row: Mapping[str, Any], *paths: tuple[str, ...]) -> float | None:
    return next((value for path in paths if (value := number(_leaf(row, *path))) is not None), None)


def _bytes(row: Mapping[str, Any], *path: str) -> int | None:
    leaf = _leaf(row, *path)
    amount, unit = number(leaf), leaf.get("unit", "MB") if isinstance(leaf, Mapping) else "MB"
    scale = UNITS.get(str(unit).upper())
    return None if amount is None or scale is None else round(amount * scale)


def _static(row: Mapping[str, Any]) -> dict[str, str | None]:
    paths = {"name": ("asic", "market_name"), "arch": ("asic", "target_graphics_version"), "bdf": ("bus", "bdf")}
    return {key: _text(_leaf(row, *path)) for key, path in paths.items()}


def _text(leaf: Any) -> str | None:
    return leaf if isinstance(leaf, str) and leaf not in ("", "N/A") else None
