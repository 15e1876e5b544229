"""Curriculum decisions: evaluate a gate from measurements and compute the next state.

Pure functions, without torch.

A gate passes only when every condition's whole 95 % interval is on the right side of its bound: a bound inside an
interval may be noise, and noise never advances. It fails when an interval is entirely on the wrong side. Otherwise it
is unsure, which is handled like a failure. A gate that may be evaluated again, after a retry or a step back, has wider
intervals: the 95 % hold for all its possible evaluations together.
"""

import math
from collections.abc import Callable, Mapping

from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.runs.curriculum_state import Action, AttemptRecord, ConditionResult, CurriculumState, GateResult, Verdict
from engine.runs.results import Interval
from engine.training.evaluation.intervals import bonferroni_interval
from rewards import is_reward

Measured = Mapping[tuple[str, str], Interval]
"""Measured intervals by metric and kind ("value", "change" or "ratio")."""

RestartsFromStart = Callable[[Stage], bool]
"""Whether a stage learns from its initial model, so that its next attempt must restart there."""


def never_restarts(stage: Stage) -> bool:
    """Return False: each attempt continues from the one before."""
    return False


def condition_verdict(condition: GateCondition, measured: Interval | None) -> Verdict:
    """Compare an interval with the condition's bound.

    Unsure without a measurement on at least two prompts.
    """
    if measured is None or measured.of < 2:
        return "unsure"
    if condition.at_least is not None:
        low, high = measured.low - condition.at_least, measured.high - condition.at_least
    else:
        assert condition.at_most is not None, "the schema asks for one bound"
        low, high = condition.at_most - measured.high, condition.at_most - measured.low
    return "pass" if low >= 0 else "fail" if high < 0 else "unsure"


def within_range(condition: GateCondition, interval: Interval) -> Interval:
    """Clip an interval to the measure's range, which the correction for repeated evaluation may exceed.

    A ratio is 0 or more; a reward, and a mix of rewards, is 0 to 1. Other measures have no known range.
    """
    if condition.of == "ratio":
        lowest, highest = 0.0, math.inf
    elif condition.of == "value" and (condition.metric == "mix" or is_reward(condition.metric)):
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
    from_start: bool = False,
    step_backs: int = 0,
) -> GateResult:
    """Return the gate's result for attempt number `attempt` (from 0), with the resulting action.

    `from_start`: each attempt restarts from the stage's initial model. `step_backs` is the curriculum's total; with the
    gate's retries it bounds the number of evaluations.
    """
    num_evaluations = (1 + gate.retries) * (1 + step_backs)
    results = tuple(
        ConditionResult(wanted=condition.words, measured=interval, verdict=condition_verdict(condition, interval))
        for condition in gate.conditions
        for raw in [measured.get((condition.metric, condition.of))]
        for interval in [raw and within_range(condition, bonferroni_interval(raw, num_evaluations))]
    )
    verdicts = {result.verdict for result in results}
    verdict: Verdict = "fail" if "fail" in verdicts else "unsure" if "unsure" in verdicts else "pass"
    action = _action(gate, verdict, attempt, step_backs_left)
    sentence = _sentence(results, action, from_start)
    return GateResult(verdict=verdict, action=action, sentence=sentence, conditions=results)


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
_RESTARTED = "Not passed, so the stage starts again, with more updates"


def _sentence(results: tuple[ConditionResult, ...], action: Action, from_start: bool) -> str:
    unmet = [f"{result.wanted} ({_measurement(result)})" for result in results if result.verdict != "pass"]
    meaning = _RESTARTED if from_start and action == "train_on" else _MEANING[action]
    return f"{meaning}{': wanted ' + '; '.join(unmet) if unmet else ''}."


def _measurement(result: ConditionResult) -> str:
    if result.measured is None or result.measured.of < 2:
        return "not measured"
    interval = result.measured
    return f"{interval.mean:.3f}, 95 % {interval.low:.3f} to {interval.high:.3f}, {result.verdict}"


def begin_attempt(state: CurriculumState, run: str, num_frames: int) -> CurriculumState:
    """Return the state after the attempt's run is created."""
    record = AttemptRecord(stage=state.stage, attempt=state.attempt, run=run, num_frames=num_frames)
    return state.model_copy(update={"attempts": (*state.attempts, record), "sentence": training(run)})


def training(run: str) -> str:
    """Return a state's sentence while the run trains."""
    return f"Training {run}."


def advance_state(
    state: CurriculumState, preset: CurriculumPreset, result: GateResult, anew: RestartsFromStart = never_restarts
) -> CurriculumState:
    """Return the state after the gate's result: next stage, another attempt, previous stage, or the end."""
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
    """Return the last run that passed `stage`'s gate; None for the base model."""
    passed = [a.run for a in attempts if a.stage == stage and a.result is not None and a.result.action == "advance"]
    return passed[-1] if passed else None


def updates_of(stage: Stage, attempt: int) -> int | None:
    """Return the number of updates of an attempt; None: the preset's own."""
    return stage.gate.retry_updates if attempt > 0 and stage.gate.retry_updates is not None else stage.updates


def restart_updates(gate: CurriculumGate, first: int, tries: int) -> int:
    """Return the updates of an attempt that restarts after `tries` others: the sum of a continued series."""
    return first + tries * (gate.retry_updates or first)


def num_previous_attempts(state: CurriculumState) -> int:
    """Return the number of earlier attempts at the current stage, including those before a step back."""
    return sum(attempt.stage == state.stage for attempt in state.attempts)
