"""When a curriculum moves on: pure decisions from what was measured, and the next state. Imports no torch.

A gate passes only when every condition's whole 95 % interval lies on the right side of its bound: a bound inside an
interval may be noise, and noise never advances. It fails when an interval lies wholly on the wrong side; anything else
is unsure, and unsure is trained on like failed. A gate that may be asked again, after a retry or a step back, has
longer intervals: the 95 % hold for all the times that it may be asked together.
"""

import math
from collections.abc import Callable, Mapping

from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.runs.curriculum_state import Action, AttemptRecord, ConditionResult, CurriculumState, GateResult, Verdict
from engine.runs.results import Interval
from engine.training.evaluation.intervals import bonferroni_interval
from rewards import REWARDS

Measured = Mapping[tuple[str, str], Interval]
"""What was measured, by metric and by what is asked of it ("value", "change" or "ratio")."""

RestartsFromStart = Callable[[Stage], bool]
"""Whether a stage learns from the model that it begins with: what an attempt came to must not teach the next one."""


def never_restarts(stage: Stage) -> bool:
    """No stage begins anew: each attempt goes on from the one before."""
    return False


def condition_verdict(condition: GateCondition, measured: Interval | None) -> Verdict:
    """What is not measured, or on one prompt only, is unsure."""
    if measured is None or measured.of < 2:
        return "unsure"
    if condition.at_least is not None:
        low, high = measured.low - condition.at_least, measured.high - condition.at_least
    else:
        assert condition.at_most is not None, "the schema asks for one bound"
        low, high = condition.at_most - measured.high, condition.at_most - measured.low
    return "pass" if low >= 0 else "fail" if high < 0 else "unsure"


def within_range(condition: GateCondition, interval: Interval) -> Interval:
    """The part of an interval that the measure can have: correcting for looks makes it longer without knowing that.

    A ratio is 0 or more; a reward, and a mix of them, is 0 to 1. Of other measures no range is known.
    """
    if condition.of == "ratio":
        lowest, highest = 0.0, math.inf
    elif condition.of == "value" and (condition.metric == "mix" or condition.metric in REWARDS):
        lowest, highest = 0.0, 1.0
    else:
        return interval
    return interval.model_copy(update={"low": max(interval.low, lowest), "high": min(interval.high, highest)})


def evaluate_gate(
    gate: CurriculumGate,
    measured: Measured,
    *,
    attempt: int,
    step_backs_left: int,
    anew: bool = False,
    step_backs: int = 0,
) -> GateResult:
    """What the gate says of attempt number `attempt` (from 0), and what follows; `anew`: each attempt begins anew.

    `step_backs` are all that the curriculum has: they bound, with the gate's retries, how often the gate is asked.
    """
    asked = (1 + gate.retries) * (1 + step_backs)
    results = tuple(
        ConditionResult(wanted=condition.words, measured=interval, verdict=condition_verdict(condition, interval))
        for condition in gate.conditions
        for found in [measured.get((condition.metric, condition.of))]
        for interval in [found and within_range(condition, bonferroni_interval(found, asked))]
    )
    verdicts = {result.verdict for result in results}
    verdict: Verdict = "fail" if "fail" in verdicts else "unsure" if "unsure" in verdicts else "pass"
    action = _action(gate, verdict, attempt, step_backs_left)
    return GateResult(verdict=verdict, action=action, sentence=_sentence(results, action, anew), conditions=results)


def _action(gate: CurriculumGate, verdict: Verdict, attempt: int, step_backs_left: int) -> Action:
    if verdict == "pass":
        return "advance"
    if attempt < gate.retries:
        return "train_on"
    return "step_back" if gate.on_failure == "step_back" and step_backs_left > 0 else "stop"


_MEANING: dict[Action, str] = {
    "advance": "The gate is passed",
    "train_on": "Not passed, so the stage is trained on",
    "step_back": "Not passed after all attempts, so it goes back a stage",
    "stop": "Not passed after all attempts, so the curriculum stops",
}
_ANEW = "Not passed, so the stage begins anew, with more updates"


def _sentence(results: tuple[ConditionResult, ...], action: Action, anew: bool) -> str:
    told = [f"{result.wanted} ({_shown(result)})" for result in results if result.verdict != "pass"]
    meaning = _ANEW if anew and action == "train_on" else _MEANING[action]
    return f"{meaning}{': wanted ' + '; '.join(told) if told else ''}."


def _shown(result: ConditionResult) -> str:
    if result.measured is None or result.measured.of < 2:
        return "not measured"
    found = result.measured
    return f"{found.mean:.3f}, 95 % {found.low:.3f} to {found.high:.3f}, {result.verdict}"


def begin_attempt(state: CurriculumState, run: str, num_frames: int) -> CurriculumState:
    """The state once the attempt's run is made."""
    record = AttemptRecord(stage=state.stage, attempt=state.attempt, run=run, num_frames=num_frames)
    return state.model_copy(update={"attempts": (*state.attempts, record), "sentence": training(run)})


def training(run: str) -> str:
    """What a state says while the run trains."""
    return f"Training {run}."


def advance_state(
    state: CurriculumState, preset: CurriculumPreset, result: GateResult, anew: RestartsFromStart = never_restarts
) -> CurriculumState:
    """The state after the gate's result: the next stage, another attempt, a stage back, or the end."""
    under_way = state.under_way
    assert under_way is not None, "there is an attempt to conclude"
    attempts = (*state.attempts[:-1], under_way.model_copy(update={"result": result}))
    done = state.model_copy(update={"attempts": attempts, "sentence": result.sentence})
    match result.action:
        case "advance":
            last = state.stage + 1 == len(preset.stages)
            change = {"stage": state.stage if last else state.stage + 1, "attempt": 0, "start": under_way.run}
            return done.model_copy(update=change | ({"status": "done"} if last else {}))
        case "train_on":
            start = state.start if anew(preset.stages[state.stage]) else under_way.run
            return done.model_copy(update={"attempt": state.attempt + 1, "start": start})
        case "step_back":
            back = max(0, state.stage - 1)
            origin = back - 1 if anew(preset.stages[back]) else back
            change = {"stage": back, "attempt": 0, "start": last_passing_run(attempts, origin)}
            return done.model_copy(update={**change, "step_backs": state.step_backs + 1})
        case "stop":
            return done.model_copy(update={"status": "stopped"})


def last_passing_run(attempts: tuple[AttemptRecord, ...], stage: int) -> str | None:
    """The run that last passed `stage`'s gate, to go on from; None when there is none: the base model."""
    passed = [a.run for a in attempts if a.stage == stage and a.result is not None and a.result.action == "advance"]
    return passed[-1] if passed else None


def steps_of(stage: Stage, attempt: int) -> int | None:
    """How many updates an attempt has; None: as the recipe says."""
    return stage.gate.retry_steps if attempt > 0 and stage.gate.retry_steps is not None else stage.steps


def restart_steps(gate: CurriculumGate, first: int, tries: int) -> int:
    """Updates of an attempt that begins anew after `tries` others: as many as all of them in a row would have had."""
    return first + tries * (gate.retry_steps or first)


def num_previous_attempts(state: CurriculumState) -> int:
    """How many attempts at the present stage came before, also those before a step back."""
    return sum(one.stage == state.stage for one in state.attempts)
