"""Evaluation of a run as a table: measures before and after training, and the change's significance."""

from collections.abc import Sequence
from typing import Any

from app.text import monitor as text
from app.views.scores import reward_titles, spec_of
from engine.errors import ConfigError, StoreError
from engine.runs.results import Evaluation, Measure
from engine.runs.run import Run
from engine.runs.run_notes import name_of
from rewards import is_reward

SIDES = ("before", "after", "change")
LINE_HEADS = [
    "measure",
    "role",
    "unit",
    "wanted",
    *(f"{side}{part}" for side in SIDES for part in ("", "_low", "_high")),
]
ORDER = ("judge", "trained", "held_out", "monitor")


def table(run: Run | None, others: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of an `EvaluationTable`, compared with the evaluations of other runs (their ids)."""
    if run is None:
        return {}
    base: dict[str, Any] = {"run": run.id, "can_measure": _has_adapter(run), "columns": [], "rows": [], "lines": []}
    try:
        evaluation = run.evaluation()
    except StoreError as error:
        return {**base, "note": str(error)}
    if evaluation is None:
        return {**base, "note": text.FINDINGS_EMPTY if base["can_measure"] else text.FINDINGS_LATER}
    measures = in_order(evaluation)
    return {
        **base,
        "note": description(evaluation),
        "columns": text.FINDINGS_COLUMNS,
        "rows": [{"cells": cells(measure), "verdict": measure.verdict} for measure in measures],
        "compared": compared([run, *(Run.find(run.workspace, other) for other in others)]),
        "lines": [[*LINE_HEADS, "verdict"], *(line(measure) for measure in measures)],
    }


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """Return a table of each run's mean after training and its change, by measure.

    It is empty below two evaluations.
    """
    found = [(run, evaluation) for run in runs if (evaluation := _readable(run)) is not None]
    if len(found) < 2:
        return {"columns": [], "rows": []}
    names = dict.fromkeys(measure.name for _, evaluation in found for measure in in_order(evaluation))
    by_name = [{measure.name: measure for measure in evaluation.measures} for _, evaluation in found]
    return {
        "columns": [text.FINDINGS_COLUMNS[0], *(name_of(run) for run, _ in found)],
        "rows": [[title_of(name), *(_reached(measures.get(name)) for measures in by_name)] for name in names],
    }


def in_order(evaluation: Evaluation) -> list[Measure]:
    """Return the measures, the judge's first and the metrics last."""
    return sorted(evaluation.measures, key=lambda measure: ORDER.index(measure.role))


def _readable(run: Run) -> Evaluation | None:
    try:
        return run.evaluation()
    except StoreError:
        return None


def _reached(measure: Measure | None) -> str:
    return f"{measure.after.mean:.3f} ({measure.change.mean:+.3f})" if measure else "–"


def title_of(measure: str) -> str:
    if is_reward(measure):
        return spec_of(measure).title
    return text.TOTALS.get(measure) or text.metric(measure, reward_titles())


def description(evaluation: Evaluation) -> str:
    return text.evaluation(evaluation.step, evaluation.prompts, evaluation.takes, evaluation.num_frames)


def cells(measure: Measure) -> list[str]:
    return [
        title_of(measure.name),
        text.ROLES[measure.role],
        f"{measure.before.mean:.3f}",
        f"{measure.after.mean:.3f}",
        measure.change.signed,
        text.VERDICTS[measure.verdict],
    ]


def line(measure: Measure) -> list[str | float]:
    """Return a CSV row of a measure, with every interval."""
    sides = [getattr(measure, side) for side in SIDES]
    numbers = [value for side in sides for value in (side.mean, side.low, side.high)]
    return [measure.name, measure.role, measure.unit, measure.wanted, *numbers, measure.verdict]


def _has_adapter(run: Run) -> bool:
    try:
        run.adapter_weights()
    except ConfigError:
        return False
    return True
