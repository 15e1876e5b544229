"""Estimate of a preset's device memory and time, from its settings and from finished runs.

Imports no torch, so that the page can update it with every change of a setting.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.config.schema import TrainPreset
from engine.errors import DailiesError
from engine.estimation.flops import FlopCount, Throughput, is_far, seconds_per_update
from engine.estimation.memory import (
    Change,
    MemoryEstimate,
    TrainingLoad,
    Verdict,
    advice,
    calibration_factor,
    estimate_memory,
    options_of,
    verdict,
)
from engine.estimation.run_plan import RunPlan, plan
from engine.estimation.update_costs import cost_of
from engine.runs.run import Run

SAMPLED_TOGETHER = 4  # clips, where no setting says how many


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """Estimate for a run.

    `memory` times `factor` is compared with the device's `total_gib`. `factor` is calibrated on finished runs of this
    model on this machine, 1 without any. `seconds` is None if there is no such run, and an upper bound (`at_most`) if
    all of them had far smaller updates. `steps` is None for a run without a fixed number of updates. `learned_from` is
    the number of runs that `seconds` is based on.
    """

    memory: MemoryEstimate
    factor: float
    total_gib: float
    verdict: Verdict
    advice: Change | None
    steps: int | None
    seconds: float | None
    at_most: bool
    learned_from: int


def clips_together(settings: Mapping[str, Any]) -> int:
    """Return how many clips a run denoises at once, for rollouts, samples and alarms.

    That is `rollout_batch`, else the size of the training batch, at most 4.
    """
    rollout_batch = settings.get("rollout_batch")
    return int(rollout_batch or min(SAMPLED_TOGETHER, settings["per_device_train_batch_size"]))


def load_of(planned: RunPlan) -> TrainingLoad:
    """Return the size of the run on its device. Distillation trains the student without guidance."""
    values, cost = planned.values, cost_of(planned)
    average, beneath = bool(values["ema_decay"]), bool(values.get("frozen_adapter"))
    preset = planned.preset
    watches = preset.alarms.every > 0 and bool(preset.prompts or preset.test_prompts)
    makes_clips = watches or values["sample_clips"] > 0 or "rollout_batch" in values
    return TrainingLoad(
        **options_of(planned.model),  # type: ignore[arg-type]  # fields of their types
        num_frames=int(values["num_frames"]),
        width=int(values["width"]),
        height=int(values["height"]),
        graph_clips=cost.graph,
        rollout_clips=clips_together(values) * planned.rows_per_clip if makes_clips else 0,
        rollout_batch=int(values.get("rollout_batch", 0)),
        lora_rank=int(values["lora_rank"]) * cost.adapters,
        checkpointed=bool(values["gradient_checkpointing"]),
        copies=average + beneath + cost.copies,
    )


def flop_per_update(planned: RunPlan) -> float:
    """Return the FLOPs of an update."""
    load, cost = load_of(planned), cost_of(planned)
    trained = cost.trained + (planned.clips_per_update if planned.values.get("data") else 0)
    passes = FlopCount(forward=cost.forward, trained=trained, checkpointed=load.checkpointed, frozen=load.lora_rank > 0)
    return passes.flop(planned.shape, planned.tokens)


# ---- Finished runs
@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeasurement:
    """Memory (estimated, measured, in GiB) and throughput of a finished run; None if not logged."""

    memory: tuple[float, float] | None
    throughput: Throughput | None


def measured_run(run: Run) -> RunMeasurement | None:
    """Return a run's measurements; None for a model of unknown size or a run without logged steps.

    Cached until the run changes: the form updates at each key press, and a long run takes a tenth of a second to read.
    """
    return _measured_run(run, file_stamp(run.metrics_file), file_stamp(run.resolved))


Stamp = tuple[int, int]


def file_stamp(file: Path) -> Stamp:
    """Return the size and time of a file; zeros for a missing one."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _measured_run(run: Run, metrics: Stamp, resolved: Stamp) -> RunMeasurement | None:
    try:
        planned = plan(run.preset())
    except DailiesError:
        return None
    rows = run.metrics()
    if planned is None or not rows:
        return None
    times = sorted(row["time/step"] for row in rows if "time/step" in row)
    throughput = Throughput(flop=flop_per_update(planned), seconds=times[len(times) // 2]) if times else None
    peak = max((row.get("memory/reserved", 0.0) for row in rows), default=0.0)
    return RunMeasurement(
        memory=(estimate_memory(load_of(planned)).peak, peak) if peak else None, throughput=throughput
    )


def forecast(preset: TrainPreset, total_gib: float, runs: Iterable[Run] = (), *, shards: int = 1) -> RunEstimate | None:
    """Estimate a preset's run on a device with `total_gib`, with its weights split into `shards`.

    `runs` are finished runs to calibrate with. Returns None if the size of the model is unknown.
    """
    planned = plan(preset)
    if planned is None:
        return None
    measured = [result for run in runs if _model_of(run) == preset.model and (result := measured_run(run)) is not None]
    factor = calibration_factor(run.memory for run in measured if run.memory)
    load, available_gib = replace(load_of(planned), shards=shards), total_gib / factor
    memory = estimate_memory(load)
    fits = verdict(memory, available_gib)
    throughputs = [run.throughput for run in measured if run.throughput]
    flop = flop_per_update(planned)
    seconds = seconds_per_update(flop, throughputs)
    return RunEstimate(
        memory=memory,
        factor=factor,
        total_gib=total_gib,
        verdict=fits,
        advice=None if fits == "fits" else advice(load, available_gib),
        steps=planned.steps,
        seconds=seconds * planned.steps if seconds is not None and planned.steps else None,
        at_most=is_far(flop, throughputs),
        learned_from=len(throughputs),
    )


def _model_of(run: Run) -> str:
    try:
        return run.preset().model
    except DailiesError:
        return ""
