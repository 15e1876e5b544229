"""Memory of long clips, beside the loaded model: a windowed clip of 129 frames against one of 65, and 193 against 129.

65 frames are one window; a longer clip's later windows also hold given frames, which costs a level of noise for each
token. Beyond that memory must not grow with the length. Each length runs in a process of its own, whose high-water mark
is set back once the model is loaded and warm. Bar: 1.3.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

from measurement import report

from engine.config.presets import load_preset
from engine.families.registry import open_model
from engine.generation.pipeline import generate
from engine.request import GenerationRequest, WindowPlan

BAR = 1.3
LENGTHS = (65, 129, 193)
STATUS = Path("/proc/self/status")


def status_mib(field: str) -> float:
    """A figure of this process in MiB: VmRSS (now) or VmHWM (at most so far)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def growth_mib(num_frames: int) -> float:
    """How far making one clip goes above the loaded, warm model."""
    family = open_model(load_preset("models", "mini"), device="cpu")
    request = GenerationRequest(prompt="a red circle moving right", num_steps=4, guidance=3.0, mode="windows")
    warm_up = {"num_frames": 30, "windows": WindowPlan(length=17, overlap=9)}  # two windows: encoding is warm too
    list(generate(family, [request.model_copy(update=warm_up)]))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status_mib("VmRSS")
    list(generate(family, [request.model_copy(update={"num_frames": num_frames})]))
    return status_mib("VmHWM") - before


def main() -> int:
    if not STATUS.exists():
        sys.stderr.write("bench_windows needs Linux: it reads /proc/self/status.\n")
        return 0
    run = [sys.executable, __file__]
    # What is freed goes back to the system at once, so that the high-water mark is of what was in use.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    one, two, three = (
        float(subprocess.run([*run, str(n)], check=True, capture_output=True, text=True, env=environment).stdout)
        for n in LENGTHS
    )
    details = {f"mib_{n}_frames": round(mib, 1) for n, mib in zip(LENGTHS, (one, two, three), strict=True)}
    results = [
        report("windows_memory_129_vs_65", two / one, "ratio", bar=BAR, **details),
        report("windows_memory_193_vs_129", three / two, "ratio", bar=BAR, **details),
    ]
    return int(not all(results))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(growth_mib(int(sys.argv[1])))
        sys.exit(0)
    sys.exit(main())
