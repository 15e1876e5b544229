"""The "curriculum" job: the runs of its stages one after another, each followed by its gate.

Each decision is written to the curriculum's state file before the next step begins. An interrupted job resumes where it
stopped: in the middle of a run, before an evaluation, or before a decision.
"""

import os
from collections.abc import Generator

from engine.config.algorithms import ALGORITHMS
from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, Stage
from engine.config.form_settings import defaults_of
from engine.config.presets import load_preset, load_train_preset, overlay
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, JobCancelled, JobError
from engine.families.registry import family_spec
from engine.files.locks import acquire
from engine.generation.clip_plan import at_least
from engine.generation.validation import check_prompts_fit
from engine.jobs.context import JobContext
from engine.jobs.handlers.evaluate import evaluation_of
from engine.jobs.handlers.train import publish, train_run
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import CurriculumConfig, EvaluateConfig, JobProgress
from engine.runs.curriculum_state import Curriculum, CurriculumState
from engine.runs.results import Evaluation
from engine.runs.run import Run
from engine.training.curriculum import (
    Measured,
    advance_state,
    begin_attempt,
    evaluate_gate,
    num_previous_attempts,
    restart_updates,
    training,
    updates_of,
)
from engine.workspace import Workspace
from rewards.import_object import import_object


def run_curriculum(config: CurriculumConfig, context: JobContext) -> JobSteps:
    """Run a curriculum to its end. Result: its state, and the adapter of the last stage that passed."""
    workspace = context.store.workspace
    curriculum = Curriculum.find(workspace, config.curriculum)
    lock = acquire(curriculum.lock)
    if lock is None:
        raise JobError(f"The curriculum {curriculum.id} is being run by another process: wait for it.")
    try:
        state = yield from _driven(curriculum, context)
    finally:
        os.close(lock)
    passed = [done.run for done in state.attempts if done.result is not None and done.result.action == "advance"]
    adapter = publish(Run.find(workspace, passed[-1]), workspace) if passed else None
    return {"curriculum": curriculum.id, "state": state.model_dump(mode="json"), "adapter": adapter}


def _driven(curriculum: Curriculum, context: JobContext) -> Generator[JobProgress, None, CurriculumState]:
    """Run attempts until the curriculum is done or stopped; return its last state."""
    workspace, preset, state = context.store.workspace, curriculum.preset(), curriculum.state()
    check_stages(preset)
    while state.status == "running":
        state = _with_run(curriculum, workspace, preset, state)
        curriculum.save(state)
        under_way = state.under_way
        assert under_way is not None, "an attempt was just begun"
        stage = preset.stages[under_way.stage]
        run, gate = Run.find(workspace, under_way.run), stage.gate
        try:
            yield from train_run(run, context)
        except JobCancelled as pause:  # an alarm of the run: the curriculum keeps its position and the reason
            curriculum.save(state.model_copy(update={"sentence": str(pause)}))
            raise
        measured = measured_of((yield from _evaluated(run, gate, context)))
        left = preset.step_backs - state.step_backs
        result = evaluate_gate(
            gate,
            measured,
            attempt=under_way.attempt,
            step_backs_left=left,
            from_start=restarts_from_start(stage),
            step_backs=preset.step_backs,
        )
        state = advance_state(state, preset, result, restarts_from_start)
        curriculum.save(state)
    return state


def check_stages(preset: CurriculumPreset) -> None:
    """Raise ConfigError for a stage that cannot continue the adapter of the stage before it."""
    trained = [stage_preset(stage) for stage in preset.stages]
    for stage, before, now in zip(preset.stages[1:], trained, trained[1:], strict=False):
        ranks = [{**defaults_of(one.algorithm), **one.settings}["lora_rank"] for one in (before, now)]
        if before.model != now.model:
            fault = f"trains the model '{now.model}', but the stage before it '{before.model}': name one model"
        elif ranks[0] != ranks[1] or not ranks[1]:
            fault = f"has lora_rank = {ranks[1]} and the stage before it {ranks[0]}: set one rank above 0 for both"
        elif now.settings.get("lora_targets") is not None:
            fault = "has lora_targets, but the adapter that it continues keeps its layers: set them in the first stage"
        else:
            continue
        raise ConfigError(f"The stage '{stage.name}' {fault}.")


def _with_run(
    curriculum: Curriculum, workspace: Workspace, preset: CurriculumPreset, state: CurriculumState
) -> CurriculumState:
    """Return the state with an attempt under way: the current one, or a new one with a new run.

    A process that died before it saved the state left the attempt's run, which is found by its key.
    """
    if state.under_way is not None:
        return state.model_copy(update={"sentence": training(state.under_way.run)})
    trained = stage_preset(preset.stages[state.stage], state.attempt, num_previous_attempts(state))
    start = Run.find(workspace, state.start).weights() if state.start else None
    check_prompts_fit(trained)
    scales = {state.start: 1.0} if state.start else None
    key = f"{curriculum.id} {len(state.attempts)}"
    run = Run.create(workspace, trained, start=start, start_scales=scales, key=key)
    return begin_attempt(state, run.id, int(str(trained.settings.get("num_frames", 0))))


def restarts_from_start(stage: Stage) -> bool:
    """Return True when a stage's teacher is its initial model, so that no student becomes its own teacher."""
    algorithm = load_train_preset(stage.preset, stage.changes).algorithm
    return bool(import_object(ALGORITHMS[algorithm].settings).learns_from_start)


def stage_preset(stage: Stage, attempt: int = 0, tries: int = 0) -> TrainPreset:
    """Return the stage's training preset with its length, updates and changes.

    Lengths are rounded up to one that the family supports. `tries` counts the previous attempts at the stage: an
    attempt that starts over has their updates in addition to its own.
    """
    trained = load_train_preset(stage.preset)
    model = load_preset("models", str(stage.changes.get("model", trained.model)))
    frames = stage.frames or int(str(trained.settings.get("num_frames", model.num_frames)))
    settings = {**stage.settings, "num_frames": at_least(family_spec(model.family), frames)}
    updates = _updates_after(stage, tries) if tries and restarts_from_start(stage) else updates_of(stage, attempt)
    if updates is not None:
        settings["max_steps"] = updates
    return load_train_preset(stage.preset, overlay(stage.changes, {"settings": settings}))


def _updates_after(stage: Stage, tries: int) -> int | None:
    """Return the updates of an attempt that starts over; None when the preset counts epochs instead."""
    first = int(str(stage_preset(stage).settings.get("max_steps") or 0))
    return restart_updates(stage.gate, first, tries) if first > 0 else None


def _evaluated(run: Run, gate: CurriculumGate, context: JobContext) -> Generator[JobProgress, None, Evaluation]:
    """Return the gate's evaluation: the saved one if it matches the gate's plan, else a new one."""
    config = EvaluateConfig(
        run=run.id, prompts=gate.prompts, num_prompts=gate.num_prompts, takes=gate.takes, mix=gate.mix
    )
    return (yield from evaluation_of(config, context, reuse=True))


def measured_of(evaluation: Evaluation) -> Measured:
    """Return the value, change and ratio of every measure, in the form that gates read."""
    measured = {}
    for measure in evaluation.measures:
        measured[measure.name, "value"] = measure.after
        measured[measure.name, "change"] = measure.change
        measured[measure.name, "ratio"] = measure.ratio
    return measured
