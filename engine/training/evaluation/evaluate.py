"""Evaluation of a run: clips of fixed prompts and seeds before and after training, by all metrics.

"Before" is the base model (for a distilled student its teacher, for RL on a student that student), "after" is the run's
adapter, both with the steps and guidance of the run (a distilled student with its own). Measures are the trained
rewards, held-out rewards, the monitoring metrics and, where the world is known, the judge. Every change has a bootstrap
interval over prompts.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.config.algorithms import ALGORITHMS
from engine.config.presets import load_preset
from engine.config.prompts import PromptRow, spread
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, FamilyError
from engine.families.loading import is_memory_full
from engine.families.lora import activate_adapter, activate_adapters
from engine.families.registry import family_spec
from engine.family_interface import ModelFamily
from engine.generation.clip_plan import check_plan
from engine.generation.context import Progress
from engine.generation.given_pictures import LoadPicture
from engine.generation.pipeline import clips_together, memory_full
from engine.request import GenerationRequest
from engine.runs.results import Evaluation, Measure, Role, Wanted
from engine.runs.run import Run
from engine.runs.run_inputs import few_steps
from engine.seeds import seed_for
from engine.storage.images import load_picture
from engine.training.build import build_config
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.evaluation.intervals import Values, change_interval, mean_interval, ratio_interval
from engine.training.rollout.rollouts import generate_rollouts
from rewards.clip import Clip
from rewards.import_object import import_object
from rewards.mix import Mix, RewardReport, combine
from rewards.spec import RewardResult
from rewards.suite import RewardSuite

Judge = Callable[[Any, str], float | None]
SEED = 4321
BATCH = 8
ADAPTER = "evaluated"
TOTAL, JUDGE = "mix", "judge"
Evaluating = Generator[Progress, None, Evaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredMetric:
    """Metric of every evaluation, read from a reward's result, with its desired direction."""

    reward: str
    wanted: Wanted
    unit: str
    read: Callable[[RewardResult], float | None]


def _distance_from_one(result: RewardResult) -> float | None:
    return None if result.raw is None else 1 - result.raw


MONITORS: dict[str, MonitoredMetric] = {
    "t_lpips": MonitoredMetric(reward="t_lpips", wanted="down", unit="distance", read=lambda result: result.raw),
    "fvd_lite": MonitoredMetric(reward="fvd_lite", wanted="down", unit="distance", read=lambda result: result.raw),
    "clip_vid": MonitoredMetric(reward="clip_vid", wanted="up", unit="0..1", read=lambda result: result.value),
    "seam": MonitoredMetric(reward="seam", wanted="up", unit="0..1", read=lambda result: result.value),
    "identity_drift": MonitoredMetric(
        reward="identity_lock", wanted="down", unit="1 - cosine", read=_distance_from_one
    ),
    "loopiness": MonitoredMetric(reward="loop_break", wanted="down", unit="similarity", read=lambda result: result.raw),
}
"""Named "monitor/..." among the measures. Raw values where less is better, so that they read as in the papers."""
MONITORED = tuple(dict.fromkeys(monitor.reward for monitor in MONITORS.values()))
"""The rewards that they are read from: measured at every evaluation, also where no mix counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Requests of one side, alike but for prompt and seed, and the folder of the adapter that makes them.

    `frozen` is the folder of an adapter under it, with its scale.
    """

    requests: tuple[GenerationRequest, ...]
    adapter: Path | None
    frozen: tuple[Path, float] | None = None

    def to_dict(self) -> dict[str, float | int | str | None]:
        first = self.requests[0]
        return {"num_steps": first.num_steps, "guidance": first.guidance, "adapter": "own" if self.adapter else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """Requests and metrics of an evaluation.

    `scored` holds all rewards, `trained` the preset's mix, if any. `load` returns the picture of a name.
    """

    run: str
    step: int
    model: str
    before: Side
    after: Side
    takes: int
    prompt_file: str
    scored: Mix
    trained: Mix | None
    judge: Judge | None
    load: LoadPicture | None = None

    def matches(self, done: Evaluation) -> bool:
        """Return True when a finished evaluation has this plan's step, mix, prompts and variations."""
        return (done.step, done.mix, done.prompt_file, done.prompts, done.takes) == (
            self.step,
            self.scored.key,
            self.prompt_file,
            len({subject_of(request) for request in self.before.requests}),
            self.takes,
        )


def plan_evaluation(
    run: Run,
    *,
    prompts: str | None = None,
    num_prompts: int = 16,
    takes: int = 2,
    mix: str | None = None,
) -> EvaluationPlan:
    """Plan the evaluation of a run's current weights.

    Raise ConfigError without an adapter or enough prompts.
    """
    preset = run.preset()
    prompt_file = prompt_file_of(preset, prompts)
    rows = spread(run.rows(prompt_file), num_prompts)
    sides = plan_sides(run, lambda template: requests_for(template, rows, takes))
    model = load_preset("models", preset.model)
    trained = load_preset("rewards", preset.mix) if preset.mix else None
    return EvaluationPlan(
        run=run.id,
        step=sides.step,
        model=preset.model,
        before=sides.before,
        after=sides.after,
        takes=takes,
        prompt_file=prompt_file,
        scored=scored_mix(preset, mix),
        trained=trained,
        judge=import_object(model.judge) if model.judge else None,
        load=partial(load_picture, run.workspace),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides of a comparison; `step` is the number of updates of the weights after training."""

    before: Side
    after: Side
    step: int


def plan_sides(run: Run, requests_of: Callable[[GenerationRequest], Sequence[GenerationRequest]]) -> Sides:
    """Plan the clips of a run's base model and of its current weights.

    `requests_of` makes the requests from one with the run's settings. Raises ConfigError when the run has no adapter,
    or when its model cannot make a request.
    """
    preset = run.preset()
    weights, step = run.adapter_weights()
    args = build_config(import_object(ALGORITHMS[preset.algorithm].settings), preset.settings, run.checkpoints)
    model = load_preset("models", preset.model)
    requests = tuple(requests_of(args.template(preset.model)))
    for request in {subject_of(request): request for request in requests}.values():
        check_plan(request, family_spec(model.family))
    frozen = (run.frozen, args.frozen_scale) if run.frozen.is_dir() else None
    from_start = run.start.is_dir() and (args.learns_from_start or few_steps(run, preset) is not None)
    student = {name: value for name, value in args.sampled_with().items() if value is not None}
    return Sides(
        before=Side(requests=requests, adapter=run.start if from_start else None, frozen=frozen),
        after=Side(requests=tuple(r.model_copy(update=student) for r in requests), adapter=weights, frozen=frozen),
        step=step,
    )


def prompt_file_of(preset: TrainPreset, name: str | None = None) -> str:
    """Return the named prompt file, else the preset's test prompts, else its training prompts."""
    name = name or preset.test_prompts or preset.prompts
    if name is None:
        raise ConfigError(f"The preset '{preset.key}' names no prompts: say which to evaluate on.")
    return name


def requests_for(template: GenerationRequest, rows: Sequence[PromptRow], takes: int) -> tuple[GenerationRequest, ...]:
    """Return `takes` requests of each row in turn, with seeds reserved for evaluations."""
    return tuple(
        template.model_copy(
            update={**row.fields(), "seed": seed_for(SEED, prompt=f"evaluation of {row.prompt}", sample=take)}
        )
        for row in rows
        for take in range(takes)
    )


def subject_of(asked: GenerationRequest | PromptRow) -> str:
    """Return what the clips of a request or row have in common: the prompt and any pictures."""
    return "\n".join(part for part in (asked.prompt, asked.image, asked.last_image) if part)


def scored_mix(preset: TrainPreset, mix: str | None = None) -> Mix:
    """Merge the watched mix, or the named one, with the preset's own rewards."""
    own = load_preset("rewards", preset.mix) if preset.mix else None
    name = mix or preset.watch or preset.mix
    if name is None:
        raise ConfigError(f"The preset '{preset.key}' trains on no mix and watches none: say which to measure with.")
    watched = load_preset("rewards", name)
    if own is None:
        return watched
    return watched.model_copy(update={"weights": {**watched.weights, **own.weights}})


def evaluate(family: ModelFamily, plan: EvaluationPlan) -> Evaluating:
    """Generate and score both sides, yielding progress. Afterwards the family's base model is active."""
    before, seconds_before = yield from _made(family, plan.before, "before", plan.load)
    after, seconds_after = yield from _made(family, plan.after, "after", plan.load)
    suite = RewardSuite(plan.scored, monitored=MONITORED)
    clips = [*before, *after]
    groups = [subject_of(request) for request in plan.before.requests]
    reports: dict[int, RewardReport] = {}
    for part in whole_subjects(groups + groups):
        yield Progress(phase="score", step=len(reports), of=len(clips))
        reports |= zip(part, suite.score_many([clips[index] for index in part]), strict=True)
    half = len(before)
    columns = list(columns_of(plan, [reports[index] for index in range(len(clips))])) + list(judged(plan, clips))
    first = plan.before.requests[0]
    return Evaluation(
        run=plan.run,
        step=plan.step,
        mix=plan.scored.key,
        prompts=len(set(groups)),
        takes=plan.takes,
        prompt_file=plan.prompt_file,
        num_frames=first.num_frames,
        before=plan.before.to_dict(),
        after=plan.after.to_dict(),
        seconds_before=round(seconds_before, 3),
        seconds_after=round(seconds_after, 3),
        measures=tuple(
            measure
            for column in columns
            if (measure := _measure(column, column.values[:half], column.values[half:], groups)).change.of > 0
        ),
    )


def whole_subjects(subjects: Sequence[str], least: int = BATCH) -> Iterator[list[int]]:
    """Yield the indices of clips in parts of `least` or more, with all clips of a subject in one part.

    Rewards that compare clips do so within a part, so both sides of a prompt have to be in it.
    """
    members: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        members.setdefault(subject, []).append(index)
    part: list[int] = []
    for indices in members.values():
        part += indices
        if len(part) >= least:
            yield part
            part = []
    if part:
        yield part


def _made(
    family: ModelFamily, side: Side, phase: str, load: LoadPicture | None
) -> Generator[Progress, None, tuple[list[Clip], float]]:
    """Generate the clips of one side; also return the seconds a clip."""
    clips: list[Clip] = []
    began = time.perf_counter()
    for batch in batches_of(family, side, phase, load):
        yield Progress(phase=phase, step=len(clips), of=len(side.requests))
        clips += batch()
    return clips, (time.perf_counter() - began) / len(clips)


def batches_of(
    family: ModelFamily, side: Side, phase: str, load: LoadPicture | None = None
) -> Iterator[Callable[[], list[Clip]]]:
    """Yield a function for each batch of a side's requests.

    It generates the batch's clips with the side's adapter. A batch is at most as large as in Generate.
    """
    adapters = {} if side.adapter is None else {f"{ADAPTER}_{phase}": (side.adapter, 1.0)}
    if side.frozen is not None:
        adapters["frozen"] = side.frozen
    scales = {name: scale for name, (_, scale) in adapters.items()}
    activate_adapters(family.network, scales, {name: folder for name, (folder, _) in adapters.items()})
    prompts = PromptEmbeddings(family, side.requests[0].fps, load=load)
    size = min(BATCH, *(clips_together(request) for request in side.requests))
    for start in range(0, len(side.requests), size):
        yield partial(_clips_of, family, side.requests[start : start + size], prompts)
    activate_adapter(family.network, None)


def _clips_of(family: ModelFamily, requests: Sequence[GenerationRequest], prompts: PromptEmbeddings) -> list[Clip]:
    try:
        return generate_rollouts(family, requests, prompts).clips
    except (RuntimeError, MemoryError) as error:
        if not is_memory_full(error):
            raise
        raise FamilyError(memory_full(family, requests)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationColumn:
    """One quantity of every clip, those before training first."""

    name: str
    role: Role
    values: list[float | None]
    wanted: Wanted = "up"
    unit: str = "0..1"


def columns_of(plan: EvaluationPlan, reports: Sequence[RewardReport]) -> Generator[EvaluationColumn, None, None]:
    """Yield the total of the trained mix (or of the scored one), every reward, and the monitoring metrics."""
    trained: Mapping[str, float] = plan.trained.weights if plan.trained else {}
    mix = plan.trained or plan.scored
    totals = [combine(report.parts, mix.weights, report.gates, mix.gates, report.missing).value for report in reports]
    yield EvaluationColumn(name=TOTAL, role="trained" if plan.trained else "held_out", values=totals)
    for key in (key for key, weight in plan.scored.weights.items() if weight > 0):
        role: Role = "trained" if trained.get(key) else "held_out"
        yield EvaluationColumn(name=key, role=role, values=[report.parts[key] for report in reports])
    for name, monitor in MONITORS.items():
        results = [report.results.get(monitor.reward) for report in reports]
        values = [monitor.read(result) if result is not None else None for result in results]
        yield EvaluationColumn(
            name=f"monitor/{name}", role="monitor", values=values, wanted=monitor.wanted, unit=monitor.unit
        )


def judged(plan: EvaluationPlan, clips: Sequence[Clip]) -> Generator[EvaluationColumn, None, None]:
    if plan.judge is not None:
        yield EvaluationColumn(
            name=JUDGE, role="judge", values=[plan.judge(clip.frames, clip.prompt) for clip in clips]
        )


def _measure(column: EvaluationColumn, before: Values, after: Values, groups: Sequence[str]) -> Measure:
    return Measure(
        name=column.name,
        role=column.role,
        wanted=column.wanted,
        unit=column.unit,
        before=mean_interval(before, groups),
        after=mean_interval(after, groups),
        change=change_interval(before, after, groups),
        ratio=ratio_interval(before, after, groups),
    )
