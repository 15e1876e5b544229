"""Estimate of a preset's device memory and time, from its settings and from finished runs.

Imports no torch, so that the page can update it with every change of a setting.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.config.form_settings import defaults_of
from engine.config.presets import load_preset
from engine.config.schema import REQUEST_FIELDS, ModelPreset, NetworkShape, TrainPreset
from engine.errors import DailiesError
from engine.estimation.clip_estimate import rows_per_clip
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
    tokens_of,
    verdict,
)
from engine.runs.run import Run

SAMPLED_TOGETHER = 4  # clips, where no setting says how many
DPO_SIDES = 2  # the chosen and the rejected clip share a batch
SIDES = {"dpo": DPO_SIDES}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A preset with all settings that the estimate needs."""

    preset: TrainPreset
    model: ModelPreset
    shape: NetworkShape
    values: Mapping[str, Any]

    @property
    def rows_per_clip(self) -> int:
        """Network rows of one prediction, 2 with guidance."""
        return rows_per_clip(self.model, self.values["guidance"])

    @property
    def clips_per_update(self) -> int:
        """Clips, or pairs, per update on one device."""
        return max(1, int(self.values["per_device_train_batch_size"] * self.values["gradient_accumulation_steps"]))

    @property
    def tokens(self) -> int:
        """Tokens of one clip."""
        frames, width, height = (int(self.values[name]) for name in ("num_frames", "width", "height"))
        return tokens_of(self.shape, frames, width, height)

    @property
    def steps(self) -> int | None:
        """Number of updates; None if the preset gives its length in epochs."""
        steps = int(self.values["max_steps"])
        return steps if steps > 0 else None


def plan(preset: TrainPreset) -> RunPlan | None:
    """Complete a preset; None if the size of its model is unknown.

    Raises ConfigError for an unknown model.
    """
    model = load_preset("models", preset.model)
    if model.network is None:
        return None
    values = {**defaults_of(preset.algorithm), **preset.settings}
    of_model = {name: getattr(model, name) for name in REQUEST_FIELDS if values.get(name) is None}
    return RunPlan(preset=preset, model=model, shape=model.network, values={**values, **of_model})


def clips_together(settings: Mapping[str, Any]) -> int:
    """Return how many clips a run denoises at once, for rollouts, samples and alarms.

    That is `rollout_batch`, else the size of the training batch, at most 4.
    """
    rollout_batch = settings.get("rollout_batch")
    return int(rollout_batch or min(SAMPLED_TOGETHER, settings["per_device_train_batch_size"]))


def load_of(planned: RunPlan) -> TrainingLoad:
    """Return the size of the run on its device. Distillation trains the student without guidance."""
    values, online = planned.values, "num_generations" in planned.values
    graph = int(values["per_device_train_batch_size"]) * (
        planned.rows_per_clip if online else SIDES.get(planned.preset.algorithm, 1)
    )
    if "steps_per_replay" in values:
        graph *= min(int(values["steps_per_replay"]), _random_steps(values))
    if "backprop_steps" in values:  # the graph of one clip after another
        graph = planned.rows_per_clip * int(values["backprop_steps"])
    preset = planned.preset
    watches = preset.alarms.every > 0 and bool(preset.prompts or preset.test_prompts)
    makes_clips = watches or values["sample_clips"] > 0 or "rollout_batch" in values
    return TrainingLoad(
        **options_of(planned.model),  # type: ignore[arg-type]  # fields of their types
        num_frames=int(values["num_frames"]),
        width=int(values["width"]),
        height=int(values["height"]),
        graph_clips=graph,
        rollout_clips=clips_together(values) * planned.rows_per_clip if makes_clips else 0,
        rollout_batch=int(values.get("rollout_batch", 0)),
        lora_rank=int(values["lora_rank"]) * (2 if "critic_updates" in values else 1),  # the critic is a second one
        checkpointed=bool(values["checkpoint_blocks"] or values.get("gradient_checkpointing")),
        copies=_copies(planned.preset.algorithm, values),
    )


def _copies(algorithm: str, values: Mapping[str, Any]) -> int:
    """Return the number of copies of the trained weights.

    Copies are the average, older policies, and the model before training.
    """
    average, beneath = bool(values["ema_decay"]), bool(values.get("frozen_adapter"))
    match algorithm:
        case "nft" | "distill":  # the old policy, and the teacher
            own = 1
        case "awm":
            own = (values["weighting"] != "rvm") + bool(values["moving_beta"])
        case _:
            own = 0
    return average + beneath + own


# ---- Network passes per update
def _dpo(planned: RunPlan) -> FlopCount:
    clips = DPO_SIDES * planned.clips_per_update
    return FlopCount(forward=clips, trained=clips)


def _kto(planned: RunPlan) -> FlopCount:
    return FlopCount(forward=planned.clips_per_update, trained=planned.clips_per_update)


def _sft(planned: RunPlan) -> FlopCount:
    return FlopCount(forward=0, trained=planned.clips_per_update)


def _random_steps(values: Mapping[str, Any]) -> int:
    """Return the number of random steps of a clip in GRPO."""
    candidates = min(values["num_steps"] - 1, int(values["step_share"] * values["num_steps"]))
    return int(values["window"] or max(1, candidates))


def _grpo(planned: RunPlan) -> FlopCount:
    values = planned.values
    window = _random_steps(values)
    clips = planned.clips_per_update * planned.rows_per_clip
    reference = window if values["beta"] else 0
    return FlopCount(
        forward=clips * (values["num_steps"] / values["num_iterations"] + reference), trained=clips * window
    )


def _nft(planned: RunPlan) -> FlopCount:
    values, clips = planned.values, planned.clips_per_update
    trained = clips * int(values["levels_per_clip"])
    rollout = clips * planned.rows_per_clip * values["num_steps"] / values["num_iterations"]
    return FlopCount(forward=rollout + trained * (2 if values["beta"] else 1), trained=trained)


def _awm(planned: RunPlan) -> FlopCount:
    values, clips = planned.values, planned.clips_per_update
    trained = clips * int(values["levels_per_clip"])
    rollout = clips * planned.rows_per_clip * values["num_steps"] / values["num_iterations"]
    weighting = values["weighting"]
    compared = (weighting != "rvm") + bool(values["beta"] or weighting == "dgpo") + bool(values["moving_beta"])
    return FlopCount(forward=rollout + trained * compared, trained=trained)


def _distill(planned: RunPlan) -> FlopCount:
    values, steps = planned.values, int(planned.values["student_steps"])
    trained = planned.clips_per_update * steps
    teacher = values["rollout_clips"] * planned.rows_per_clip * values["num_steps"] / values["steps_per_rollout"]
    jumps = trained * (1 - steps / values["num_steps"]) if values["target"] == "consistency" else 0
    return FlopCount(forward=teacher + max(0, jumps), trained=trained)


def _draft(planned: RunPlan) -> FlopCount:
    values, rows = planned.values, planned.clips_per_update * planned.rows_per_clip
    trained = rows * int(values["backprop_steps"])
    without = rows * values["num_steps"] - trained
    return FlopCount(forward=without + (trained if values["beta"] else 0), trained=trained)


def _dmd(planned: RunPlan) -> FlopCount:
    values, clips = planned.values, planned.clips_per_update
    own, critic = (int(values["student_steps"]) - 1) / 2, int(values["critic_updates"])
    compared = (critic + 1 + planned.rows_per_clip) / (critic + 1)
    return FlopCount(forward=clips * (own + compared), trained=clips)


FLOP_COUNTS: Mapping[str, Callable[[RunPlan], FlopCount]] = {
    "dpo": _dpo,
    "kto": _kto,
    "sft": _sft,
    "grpo": _grpo,
    "nft": _nft,
    "awm": _awm,
    "draft": _draft,
    "distill": _distill,
    "dmd": _dmd,
}


def flop_per_update(planned: RunPlan) -> float:
    """Return the FLOPs of an update; 0 for an algorithm without a count."""
    count = FLOP_COUNTS.get(planned.preset.algorithm)
    if count is None:
        return 0.0
    load = load_of(planned)
    passes = replace(count(planned), checkpointed=load.checkpointed, frozen=load.lora_rank > 0)
    if planned.values.get("data"):
        passes = replace(passes, trained=passes.trained + planned.clips_per_update)
    return passes.flop(planned.shape, planned.tokens)


# ---- Finished runs
@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeasurement:
    """Measurements of a finished run: memory (estimated, measured.

    GiB) and throughput, None if not logged.
    """

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
