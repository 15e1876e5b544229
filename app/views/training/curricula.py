"""Curricula in the Train tab's form: stages, gates, estimates, and queueing.

The settings belong to the stages of the preset; the form does not change them.
"""

from collections.abc import Mapping
from typing import Any

from app.context import AppContext
from app.forms.preset_choices import preset_choices
from app.middleware.idempotency import request_key
from app.text import training
from app.views.training import preset_facts
from app.views.training.train_form import ABOUT, CURRICULUM, LEARNED_FROM, curricula, memory_of
from engine.config.curriculum_preset import CurriculumPreset, Stage
from engine.config.data_sets import find_clips
from engine.config.model_availability import why_unavailable
from engine.config.presets import load_curriculum, load_preset
from engine.config.reward_availability import why_rewards_unavailable
from engine.errors import ConfigError
from engine.estimation.run_estimate import RunEstimate, forecast
from engine.hardware.telemetry.monitor import device_gib
from engine.jobs.handlers.curriculum import stage_preset
from engine.jobs.spec import CurriculumConfig, JobSpec
from engine.runs.curriculum_state import Curriculum
from engine.runs.run import list_runs

NAME = "curriculum"


def open_form(name: str) -> dict[str, Any]:
    """Return the form of a curriculum. Raises ConfigError if it does not exist or a stage is invalid."""
    preset = load_curriculum(name.removeprefix(CURRICULUM))
    return {
        "presets": [{"key": key, "title": title} for title, key in preset_choices("train")],
        "curricula": curricula(),
        "about": {**{name: getattr(preset, name) for name in ABOUT}, "does": training.CURRICULUM_DOES},
        "stages": [_stage(stage) for stage in preset.stages],
        "choices": {NAME: preset.key, "preset": "", "run": "", "settings": {}},
    }


def _stage(stage: Stage) -> dict[str, Any]:
    settings = stage_preset(stage).settings
    summary = training.stage(stage.preset, settings.get("num_frames"), settings.get("max_steps"))
    return {"name": stage.name, "told": summary, "gate": [condition.words for condition in stage.gate.conditions]}


def estimate_form(context: AppContext, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Estimate a curriculum as `train_form.estimate_form` does a run: peak memory over stages, total time."""
    preset = load_curriculum(choices[NAME])
    runs = list_runs(context.workspace)[:LEARNED_FROM]
    estimates = [(stage.name, forecast(stage_preset(stage), device_gib(), runs)) for stage in preset.stages]
    known_estimates = [(name, estimate) for name, estimate in estimates if estimate is not None]
    if not known_estimates:
        memory = memory_of(None)
    else:
        name, largest = max(known_estimates, key=lambda pair: pair[1].memory.peak * pair[1].factor)
        memory = memory_of(largest)
        memory |= {"sentence": training.most_of(name, memory["sentence"])}
    missing, blocked = _blocked(preset)
    return {
        "command": f"dailies curriculum {preset.key} --queue",
        "changed": [],
        "memory": memory,
        "time": _time([estimate for _, estimate in estimates]),
        "facts": {"model": _model_fact(preset)},
        "blocked": blocked,
        "missing": missing,
    }


def _blocked(preset: CurriculumPreset) -> tuple[str, str]:
    """Return what a stage lacks, "models", "data" or "", and why it cannot run; "" if all stages can."""
    for stage in preset.stages:
        training_preset = stage_preset(stage)
        no_model = why_unavailable(load_preset("models", training_preset.model))
        if reason := " ".join(filter(None, (why_rewards_unavailable(training_preset), no_model))):
            return "models" if no_model else "", training.blocked_stage(stage.name, reason)
        if training_preset.pairs and not find_clips(training_preset.pairs).exists():
            return "data", training.blocked_stage(stage.name, training.no_data(training_preset.pairs))
    return "", ""


def _model_fact(preset: CurriculumPreset) -> preset_facts.Fact:
    """Return the models of all stages in one line; `ok` if all are installed."""
    facts = [preset_facts.model_fact(stage_preset(stage)) for stage in preset.stages]
    return {"ok": all(fact["ok"] for fact in facts), "line": ", ".join(dict.fromkeys(fact["line"] for fact in facts))}


def _time(estimates: list[RunEstimate | None]) -> str:
    seconds = [estimate.seconds for estimate in estimates if estimate is not None and estimate.seconds is not None]
    return training.time_of_stages(sum(seconds)) if seconds and len(seconds) == len(estimates) else training.NO_TIME


def queue(context: AppContext, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Create a curriculum and queue its job. Raises ConfigError if a stage cannot run on this machine."""
    preset = load_curriculum(choices[NAME])
    if blocked := _blocked(preset)[1]:
        raise ConfigError(blocked)
    curriculum = Curriculum.create(context.workspace, preset, request_key("curriculum"))
    config = CurriculumConfig(curriculum=curriculum.id).model_dump(mode="json")
    job = context.submit(JobSpec(kind=NAME, config=config), discard=curriculum.discard)
    return {"run": curriculum.id, "note": training.filed_curriculum(curriculum.id, job.position)}
