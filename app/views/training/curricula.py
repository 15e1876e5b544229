"""A curriculum in the Train tab's form: its stages and gates, what the largest of them needs, and how it is queued.

Its settings are those of its stages, in its preset: the form changes nothing in them.
"""

from collections.abc import Mapping
from typing import Any

from app.context import AppContext
from app.forms.generation_form import preset_choices
from app.middleware.idempotency import request_key
from app.text import training
from app.views.training.train_form import CURRICULUM, LEARNED_FROM, curricula, device_gib, memory_of
from engine.config.curriculum_preset import Stage
from engine.config.presets import load_curriculum
from engine.errors import DailiesError
from engine.estimation.run_estimate import RunEstimate, forecast
from engine.jobs.handlers.curriculum import recipe_of
from engine.jobs.spec import CurriculumConfig, JobSpec
from engine.runs.curriculum_state import Curriculum
from engine.runs.run import list_runs

NAME = "curriculum"


def opened(name: str) -> dict[str, Any]:
    """The form for one. Raises ConfigError: there is none of this name, or a stage will not do."""
    preset = load_curriculum(name.removeprefix(CURRICULUM))
    return {
        "recipes": [{"key": key, "title": title} for title, key in preset_choices("train")],
        "curricula": curricula(),
        "about": {"title": preset.title, "source": preset.source, "notes": preset.notes},
        "stages": [_stage(stage) for stage in preset.stages],
        "choices": {NAME: preset.key, "recipe": "", "run": "", "settings": {}},
    }


def _stage(stage: Stage) -> dict[str, Any]:
    settings = recipe_of(stage).settings
    told = training.stage(stage.recipe, settings.get("num_frames"), settings.get("max_steps"))
    return {"name": stage.name, "told": told, "gate": [one.words for one in stage.gate.conditions]}


def outlook(desk: AppContext, choices: Mapping[str, Any]) -> dict[str, Any]:
    """As `recipe.outlook`: the memory of the stage that needs most, the time of all."""
    preset = load_curriculum(choices[NAME])
    runs = list_runs(desk.workspace)[:LEARNED_FROM]
    found = [(stage.name, forecast(recipe_of(stage), device_gib(), runs)) for stage in preset.stages]
    known = [(name, one) for name, one in found if one is not None]
    if not known:
        memory = memory_of(None)
    else:
        name, most = max(known, key=lambda pair: pair[1].need.peak * pair[1].factor)
        memory = memory_of(most)
        memory |= {"sentence": training.most_of(name, memory["sentence"])}
    return {
        "command": f"dailies curriculum {preset.key} --queue",
        "changed": [],
        "memory": memory,
        "time": _time([one for _, one in found]),
    }


def _time(found: list[RunEstimate | None]) -> str:
    seconds = [one.seconds for one in found if one is not None and one.seconds is not None]
    return training.time_of_stages(sum(seconds)) if seconds and len(seconds) == len(found) else training.NO_TIME


def queue(desk: AppContext, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Begin one, as a job."""
    made = Curriculum.create(desk.workspace, load_curriculum(choices[NAME]), request_key("curriculum"))
    try:
        job = desk.file(JobSpec(kind=NAME, config=CurriculumConfig(curriculum=made.id).model_dump(mode="json")))
    except DailiesError:
        made.discard()
        raise
    return {"run": made.id, "note": training.filed_curriculum(made.id, job.position)}
