"""What a benchmark says: one JSON line a figure, with its bar and the machine that it was measured on."""

import json
import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def machine() -> str:
    """Processor, cores that this process may use, versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0] if models else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, torch {metadata.version('torch')}, Python {platform.python_version()}"


def report(name: str, value: float, unit: str, *, bar: float, **details: object) -> bool:
    """Print one figure as a JSON line; less is better. Returns whether it is within its bar."""
    ok = value <= bar
    line = {"name": name, "value": round(value, 4), "unit": unit, "bar": bar, "ok": ok, "machine": machine()}
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    sys.stdout.write(json.dumps({**line, "load_1min": load, **details}) + "\n")
    sys.stdout.flush()
    return ok
