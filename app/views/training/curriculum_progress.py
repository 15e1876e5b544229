"""Curricula as a strip of stages: which passed, which is under way, and each gate's numbers with their intervals."""

from typing import Any

from app.context import AppContext
from app.text import monitor as text
from engine.config.curriculum_preset import Stage
from engine.errors import StoreError
from engine.files.locks import is_held
from engine.jobs.spec import ACTIVE, JobSpec
from engine.runs.curriculum_state import AttemptRecord, ConditionResult, Curriculum, CurriculumState, list_curricula

KIND, ALIVE = "curriculum", ("queued", *ACTIVE)
SHOWN = 3  # the newest


def strip(desk: AppContext) -> dict[str, Any]:
    """The value of a `CurriculumProgress`; a curriculum whose files are damaged says so in place of its stages."""
    active = {job.config["curriculum"] for job in desk.queue.list(ALIVE, KIND, limit=100)}
    return {"curricula": [_curriculum(one, one.id in active) for one in list_curricula(desk.workspace)[:SHOWN]]}


def resume(desk: AppContext, curriculum_id: str) -> None:
    """Go on with a curriculum that nobody drives, from where it was cut off."""
    found = Curriculum.find(desk.workspace, curriculum_id).id
    desk.file(JobSpec(kind=KIND, config={"curriculum": found}), alone=f"The curriculum {found}")


def _curriculum(one: Curriculum, active: bool) -> dict[str, Any]:
    try:
        preset, state = one.preset(), one.state()
    except StoreError as error:
        return {"id": one.id, "title": one.id, "running": False, "sentence": str(error), "stages": []}
    cut_off = state.status == "running" and not active and not is_held(one.lock)  # it may be driven in a shell
    return {
        "id": one.id,
        "title": f"{preset.title} ({one.id})",
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
    told = [f"{frames} frames" if frames else "", stage.recipe, text.STAGE_STATES[key]]
    told += [f"attempt {len(attempts)}, {last.run}"] if last else []
    return {
        "name": stage.name,
        "state": key,
        "detail": ", ".join(word for word in told if word),
        "gate": [_condition(one) for one in result.conditions] if result else _asked(stage),
        "sentence": result.sentence if result else "",
    }


def _state(index: int, state: CurriculumState, last: AttemptRecord | None) -> str:
    """`text.STAGE_STATES`' keys."""
    if state.status == "done" or index < state.stage:
        return "done"
    if index > state.stage or (last is None and state.status != "running"):
        return "later"
    return "now" if state.status == "running" else "failed"


def _asked(stage: Stage) -> list[dict[str, str]]:
    return [{"wanted": one.words, "measured": "", "verdict": ""} for one in stage.gate.conditions]


def _condition(one: ConditionResult) -> dict[str, str]:
    found = one.measured
    measured = text.interval(found.mean, found.low, found.high, found.of) if found else ""
    return {"wanted": one.wanted, "measured": measured, "verdict": one.verdict}
