"""What a recipe will need: memory on the device, and time, from its settings and from runs that are over.

Imports no torch, so that the page follows every change of a setting.
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
from engine.estimation.clip_estimate import BYTES, clip_tokens, passes_a_step
from engine.estimation.flops import FlopCount, Throughput, is_far, seconds_an_update
from engine.estimation.memory import (
    Change,
    MemoryEstimate,
    TrainingLoad,
    Verdict,
    advice,
    calibration_factor,
    estimate_memory,
    verdict,
)
from engine.families.registry import family_spec
from engine.runs.run import Run

DPO_SIDES = 2  # chosen and rejected go through the network together
SIDES = {"dpo": DPO_SIDES}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """`need` times `factor` (learned from finished runs of this model on this machine; 1: none) is held against the
    device's `total_gib`; `seconds` is None while no run of the model is over, and too many (`at_most`) when all were
    far smaller; `steps` is None where a run has no fixed number of updates."""

    need: MemoryEstimate
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
    """A recipe with every setting that its forecast asks for."""

    preset: TrainPreset
    model: ModelPreset
    shape: NetworkShape
    values: Mapping[str, Any]

    @property
    def guided(self) -> int:
        """Passes that one prediction takes."""
        return passes_a_step(self.model, self.values["guidance"])

    @property
    def clips_an_update(self) -> int:
        return max(1, int(self.values["per_device_train_batch_size"] * self.values["gradient_accumulation_steps"]))

    @property
    def tokens(self) -> int:
        """Of one clip."""
        frames, width, height = (int(self.values[name]) for name in ("num_frames", "width", "height"))
        return clip_tokens(self.model, frames, width, height)

    @property
    def steps(self) -> int | None:
        steps = int(self.values["max_steps"])
        return steps if steps > 0 else None


def plan(preset: TrainPreset) -> RunPlan | None:
    """None when the size of the recipe's model is not known. Raises ConfigError for a model that is not."""
    model = load_preset("models", preset.model)
    if model.network is None:
        return None
    values = {**defaults_of(preset.algorithm), **preset.settings}
    own = {name: getattr(model, name) for name in REQUEST_FIELDS if values.get(name) is None}
    return RunPlan(preset=preset, model=model, shape=model.network, values={**values, **own})


def load_of(planned: RunPlan) -> TrainingLoad:
    """What the recipe puts on its device. A student's guidance is its teacher's, so it trains without."""
    values, online = planned.values, "num_generations" in planned.values
    graph = int(values["per_device_train_batch_size"]) * (
        planned.guided if online else SIDES.get(planned.preset.algorithm, 1)
    )
    return TrainingLoad(
        shape=planned.shape,
        num_frames=int(values["num_frames"]),
        width=int(values["width"]),
        height=int(values["height"]),
        tokens=planned.tokens,
        text_tokens=family_spec(planned.model.family).text_tokens or 128,
        graph_clips=graph,
        rollout_clips=int(values.get("rollout_batch", 0)) * planned.guided,
        lora_rank=int(values["lora_rank"]),
        checkpointed=bool(values["checkpoint_blocks"] or values.get("gradient_checkpointing")),
        copies=(1 if values["ema_decay"] else 0) + (1 if "old_decay_flat" in values else 0),
        bytes_each=BYTES[planned.model.dtype],
        tiled_decode=planned.model.tile_vae,
    )


# ---- Passes through the network, an update
def _dpo(planned: RunPlan) -> FlopCount:
    clips = DPO_SIDES * planned.clips_an_update
    return FlopCount(forward=clips, trained=clips)


def _grpo(planned: RunPlan) -> FlopCount:
    values = planned.values
    window = int(values["window"] or values["num_steps"] - 1)
    clips = planned.clips_an_update * planned.guided
    reference = window if values["beta"] else 0
    return FlopCount(
        forward=clips * (values["num_steps"] / values["num_iterations"] + reference), trained=clips * window
    )


def _nft(planned: RunPlan) -> FlopCount:
    values, clips = planned.values, planned.clips_an_update
    trained = clips * int(values["levels_per_clip"])
    rollout = clips * planned.guided * values["num_steps"] / values["num_iterations"]
    return FlopCount(forward=rollout + trained * (2 if values["beta"] else 1), trained=trained)


def _distill(planned: RunPlan) -> FlopCount:
    values, steps = planned.values, int(planned.values["student_steps"])
    trained = planned.clips_an_update * steps
    teacher = values["rollout_clips"] * planned.guided * values["num_steps"] / values["steps_per_rollout"]
    jumps = trained * (1 - steps / values["num_steps"]) if values["target"] == "consistency" else 0
    return FlopCount(forward=teacher + max(0, jumps), trained=trained)


EFFORTS: Mapping[str, Callable[[RunPlan], FlopCount]] = {"dpo": _dpo, "grpo": _grpo, "nft": _nft, "distill": _distill}


def flop_an_update(planned: RunPlan) -> float:
    """0 for an algorithm whose passes nobody has counted."""
    count = EFFORTS.get(planned.preset.algorithm)
    if count is None:
        return 0.0
    load = load_of(planned)
    effort = replace(count(planned), checkpointed=load.checkpointed, frozen=load.lora_rank > 0)
    return effort.flop(planned.shape, planned.tokens)


# ---- From runs that are over
@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What one run measured of itself beside what was foretold: memory pairs (foretold, measured GiB) and its pace."""

    memory: tuple[float, float] | None
    pace: Throughput | None


def measured_run(run: Run) -> Experience | None:
    """None for a run that tells nothing: of an unknown size, or without a logged step. Read again only when it changes:
    a form asks at each key press, and long runs take a tenth of a second each."""
    return _experience(run, _stamp(run.metrics_file), _stamp(run.resolved))


Stamp = tuple[int, int]


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _experience(run: Run, metrics: Stamp, resolved: Stamp) -> Experience | None:
    try:
        planned = plan(run.preset())
    except DailiesError:
        return None
    rows = run.metrics()
    if planned is None or not rows:
        return None
    times = sorted(row["time/step"] for row in rows if "time/step" in row)
    pace = Throughput(flop=flop_an_update(planned), seconds=times[len(times) // 2]) if times else None
    peak = max((row.get("memory/reserved", 0.0) for row in rows), default=0.0)
    return Experience(memory=(estimate_memory(load_of(planned)).peak, peak) if peak else None, pace=pace)


def forecast(preset: TrainPreset, total_gib: float, runs: Iterable[Run] = (), *, shards: int = 1) -> RunEstimate | None:
    """What the recipe needs on a device of `total_gib`, its weights being spread over `shards` of them; None when the
    size of its model is not known."""
    planned = plan(preset)
    if planned is None:
        return None
    known = [found for run in runs if _model_of(run) == preset.model and (found := measured_run(run)) is not None]
    factor = calibration_factor(one.memory for one in known if one.memory)
    load, room_gib = replace(load_of(planned), shards=shards), total_gib / factor
    wanted = estimate_memory(load)
    fits = verdict(wanted, room_gib)
    paces = [one.pace for one in known if one.pace]
    flop = flop_an_update(planned)
    each = seconds_an_update(flop, paces)
    return RunEstimate(
        need=wanted,
        factor=factor,
        total_gib=total_gib,
        verdict=fits,
        advice=None if fits == "fits" else advice(load, room_gib),
        steps=planned.steps,
        seconds=each * planned.steps if each is not None and planned.steps else None,
        at_most=is_far(flop, paces),
        learned_from=len(paces),
    )


def _model_of(run: Run) -> str:
    try:
        return run.preset().model
    except DailiesError:
        return ""
