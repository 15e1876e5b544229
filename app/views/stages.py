"""Curricula as a strip of stages: which passed, which is under way, and each gate's numbers with their intervals."""

from typing import Any

from app import text_monitor as text
from engine.config.curricula import Stage
from engine.data.curricula import AttemptRecord, ConditionResult, Curriculum, CurriculumState, list_curricula
from engine.data.workspace import Workspace
from engine.errors import StoreError

SHOWN = 3  # the newest


def strip(workspace: Workspace) -> dict[str, Any]:
    """The value of a `StageStrip`; a curriculum whose files are damaged says so in place of its stages."""
    return {"curricula": [_curriculum(one) for one in list_curricula(workspace)[:SHOWN]]}


def _curriculum(one: Curriculum) -> dict[str, Any]:
    try:
        preset, state = one.preset(), one.state()
    except StoreError as error:
        return {"title": one.id, "running": False, "sentence": str(error), "stages": []}
    return {
        "title": f"{preset.title} ({one.id})",
        "running": state.status == "running",
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
