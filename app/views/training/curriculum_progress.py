"""Progress of curricula: the state of each stage, and the measures of each gate with their intervals."""

from typing import Any

from app.context import AppContext
from app.text import monitor as text
from engine.config.curriculum_preset import Stage
from engine.errors import StoreError
from engine.files.locks import is_held
from engine.jobs.spec import UNFINISHED, JobSpec
from engine.runs.curriculum_state import AttemptRecord, ConditionResult, Curriculum, CurriculumState, list_curricula

KIND = "curriculum"
SHOWN = 3  # the newest


def curriculum_list(context: AppContext) -> dict[str, Any]:
    """Return the value of a `CurriculumProgress`; a damaged curriculum has an error instead of stages."""
    active = {job.config["curriculum"] for job in context.queue.list(UNFINISHED, KIND, limit=None)}
    return {
        "curricula": [
            _curriculum(curriculum, curriculum.id in active) for curriculum in list_curricula(context.workspace)[:SHOWN]
        ]
    }


def resume(context: AppContext, curriculum_id: str) -> None:
    """Resume an interrupted curriculum."""
    curriculum = Curriculum.find(context.workspace, curriculum_id).id
    context.submit(JobSpec(kind=KIND, config={"curriculum": curriculum}), alone=f"The curriculum {curriculum}")


def abandon(context: AppContext, curriculum_id: str) -> None:
    """End an interrupted curriculum. Raises ConfigError if it is being run or is over."""
    Curriculum.find(context.workspace, curriculum_id).abandon()


def _curriculum(curriculum: Curriculum, active: bool) -> dict[str, Any]:
    try:
        preset, state = curriculum.preset(), curriculum.state()
    except StoreError as error:
        return {"id": curriculum.id, "title": curriculum.id, "running": False, "sentence": str(error), "stages": []}
    cut_off = state.status == "running" and not active and not is_held(curriculum.lock)  # a shell may hold the lock
    return {
        "id": curriculum.id,
        "title": f"{preset.title} ({curriculum.id})",
        "running": state.status == "running",
        "can_resume": cut_off,
        "sentence": state.sentence,
        "stages": [_stage(stage, index, state) for index, stage in enumerate(preset.stages)],
    }


def _stage(stage: Stage, index: int, state: CurriculumState) -> dict[str, Any]:
    attempts = [attempt for attempt in state.attempts if attempt.stage == index]
    last = attempts[-1] if attempts else None
    result = last.result if last else None
    key = _state(index, state, last)
    frames = last.num_frames if last else stage.frames
    parts = [f"{frames} frames" if frames else "", stage.preset, text.STAGE_STATES[key]]
    parts += [f"attempt {len(attempts)}, {last.run}"] if last else []
    return {
        "name": stage.name,
        "state": key,
        "detail": ", ".join(word for word in parts if word),
        "gate": [_condition(condition) for condition in result.conditions] if result else _asked(stage),
        "sentence": result.sentence if result else "",
    }


def _state(index: int, state: CurriculumState, last: AttemptRecord | None) -> str:
    """Return the state of a stage, a key of `text.STAGE_STATES`."""
    if state.status == "done" or index < state.stage:
        return "done"
    if index > state.stage or (last is None and state.status != "running"):
        return "later"
    return "now" if state.status == "running" else "failed"


def _asked(stage: Stage) -> list[dict[str, str]]:
    return [{"wanted": condition.words, "measured": "", "verdict": ""} for condition in stage.gate.conditions]


def _condition(condition: ConditionResult) -> dict[str, str]:
    interval = condition.measured
    measured = text.interval(interval.mean, interval.low, interval.high, interval.of) if interval else ""
    return {"wanted": condition.wanted, "measured": measured, "verdict": condition.verdict}
