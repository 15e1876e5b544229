"""A curriculum in the Train tab's form: its stages and gates, what the largest of them needs, and how it is queued.

Its settings are those of its stages, in its preset: the form changes nothing in them.
"""

from collections.abc import Mapping
from typing import Any

from app import text_train
from app.desk import Desk
from app.forms import titled
from app.once import request_key
from app.views.recipe import CURRICULUM, LEARNED_FROM, curricula, device_gib, memory_of
from engine.config.curricula import Stage
from engine.config.presets import load_curriculum
from engine.data.curricula import Curriculum
from engine.data.runs import list_runs
from engine.errors import DailiesError
from engine.hardware.forecast import Forecast, forecast
from engine.jobs.curriculum import recipe_of
from engine.jobs.spec import CurriculumConfig, JobSpec

NAME = "curriculum"


def opened(name: str) -> dict[str, Any]:
    """The form for one. Raises ConfigError: there is none of this name, or a stage will not do."""
    preset = load_curriculum(name.removeprefix(CURRICULUM))
    return {
        "recipes": [{"key": key, "title": title} for title, key in titled("train")],
        "curricula": curricula(),
        "about": {"title": preset.title, "source": preset.source, "notes": preset.notes},
        "stages": [_stage(stage) for stage in preset.stages],
        "choices": {NAME: preset.key, "recipe": "", "run": "", "settings": {}},
    }


def _stage(stage: Stage) -> dict[str, Any]:
    settings = recipe_of(stage).settings
    told = text_train.stage(stage.recipe, settings.get("num_frames"), settings.get("max_steps"))
    return {"name": stage.name, "told": told, "gate": [one.words for one in stage.gate.conditions]}


def outlook(desk: Desk, choices: Mapping[str, Any]) -> dict[str, Any]:
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
        memory |= {"sentence": text_train.most_of(name, memory["sentence"])}
    return {
        "command": f"dailies curriculum {preset.key} --queue",
        "changed": [],
        "memory": memory,
        "time": _time([one for _, one in found]),
    }


def _time(found: list[Forecast | None]) -> str:
    seconds = [one.seconds for one in found if one is not None and one.seconds is not None]
    return text_train.time_of_stages(sum(seconds)) if seconds and len(seconds) == len(found) else text_train.NO_TIME


def queue(desk: Desk, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Begin one, as a job."""
    made = Curriculum.create(desk.workspace, load_curriculum(choices[NAME]), request_key("curriculum"))
    try:
        job = desk.file(JobSpec(kind=NAME, config=CurriculumConfig(curriculum=made.id).model_dump(mode="json")))
    except DailiesError:
        made.discard()
        raise
    return {"run": made.id, "note": text_train.filed_curriculum(made.id, job.position)}
