"""Benchmark of a preset's iterations.

It is a short run of its own, trained by the process that trains every run. An iteration is a generation batch with all
updates that use it; without rollouts it is one update.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.benchmark.report import Measurement, summary
from engine.config.form_settings import defaults_of
from engine.config.presets import change_preset
from engine.config.schema import TrainPreset
from engine.errors import TrainingError
from engine.estimation.memory import estimate_memory
from engine.estimation.run_estimate import flop_per_update, load_of
from engine.estimation.run_plan import plan
from engine.hardware.environment import merge_env, process_changes
from engine.package_data import IMPORT_ROOT
from engine.runs.run import Run
from engine.workspace import Workspace

WARM_UP = 1  # the first iteration compiles kernels and fills caches
PARTS = ("rollout", "decode", "score")


def benchmark_preset(preset: TrainPreset, iterations: int) -> TrainPreset:
    """Return the preset shortened to a warm-up and `iterations`, without samples, checks and evaluation."""
    updates = (WARM_UP + iterations) * updates_per_iteration(preset)
    settings: dict[str, Any] = {"max_steps": updates, "logging_steps": 1, "save_steps": updates, "sample_clips": 0}
    changes: dict[str, Any] = {"settings": settings}
    if preset.alarms is not None:
        changes["alarms"] = {"every": 0}
    return change_preset(preset, changes)


def updates_per_iteration(preset: TrainPreset) -> int:
    """Return the number of updates that use one generation batch; 1 for a preset without rollouts."""
    values: dict[str, Any] = {**defaults_of(preset.algorithm), **preset.settings}
    accumulation = int(values.get("gradient_accumulation_steps") or 1)
    batches = int(values.get("steps_per_generation") or accumulation) * int(values.get("num_iterations") or 1)
    return max(1, math.ceil(batches / accumulation)) if "num_generations" in values else 1


def measure_iteration(preset: TrainPreset, *, iterations: int) -> Iterator[Measurement]:
    """Train in a temporary workspace; measure an iteration's time by part, its throughput and its memory.

    "iteration/memory_ratio" is measured / estimated memory. The throughput counts the floating-point operations of the
    network passes over the time without decoding and scoring. Raises TrainingError with the run's error.
    """
    with tempfile.TemporaryDirectory(prefix="dailies-bench-") as folder:
        run = Run.create(Workspace(Path(folder)).prepare(), benchmark_preset(preset, iterations))
        _train(run)
        rows = [row for row in run.metrics() if "time/step" in row]
    updates = updates_per_iteration(preset)
    seconds = [_seconds(rows[start : start + updates]) for start in range(0, len(rows), updates)][WARM_UP:]
    if not seconds:
        raise TrainingError(f"The benchmark of '{preset.key}' logged no iteration after the first.")
    settings = {"preset": preset.key, "model": preset.model, "algorithm": preset.algorithm}

    def measurement(name: str, unit: str, values: list[float]) -> Measurement:
        return Measurement(name=f"iteration/{name}", unit=unit, settings=settings, **summary(values))

    for part in ("all", *PARTS, "update"):
        values = [iteration[part] for iteration in seconds]
        if any(values):
            yield measurement(part, "s", values)
    planned = plan(preset)
    if planned is None:
        return
    if flop := flop_per_update(planned):
        networks = [iteration["rollout"] + iteration["update"] for iteration in seconds]
        yield measurement("network", "TFLOP/s", [updates * flop / spent / 1e12 for spent in networks])
    if peak := max((row.get("memory/allocated", 0.0) for row in rows), default=0.0):
        yield measurement("memory", "GiB", [peak])
        yield measurement("memory_ratio", "ratio", [peak / estimate_memory(load_of(planned)).peak])


def _seconds(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the seconds of one iteration by part; "update" is "all" without the other parts."""
    parts = {part: sum(row.get(f"time/{part}", 0.0) for row in rows) for part in PARTS}
    total = sum(row["time/step"] for row in rows)
    return {"all": total, **parts, "update": total - sum(parts.values())}


def _train(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine.training.main", str(run.folder)],
        env=merge_env(os.environ, {**process_changes(run.workspace), "DAILIES_TRACKIO": "0"}),
        cwd=IMPORT_ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        cause = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise TrainingError(f"The benchmark's run ended with exit code {done.returncode}: {cause}")
