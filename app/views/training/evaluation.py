"""A run's evaluation as a table: what it changed, and what of that is more than noise."""

from typing import Any

from app.text import monitor as words
from app.views.scores import spec_of
from engine.errors import ConfigError, StoreError
from engine.runs.results import Evaluation, Interval, Measure
from engine.runs.run import Run
from rewards import REWARDS

SIDES = ("before", "after", "change")
LINE_HEADS = [
    "measure",
    "role",
    "unit",
    "wanted",
    *(f"{side}{part}" for side in SIDES for part in ("", "_low", "_high")),
]
ORDER = ("judge", "trained", "held_out", "monitor")


def sheet(run: Run | None) -> dict[str, Any]:
    """The value of a `EvaluationTable`."""
    if run is None:
        return {}
    plain: dict[str, Any] = {"run": run.id, "can_measure": _has_adapter(run), "columns": [], "rows": [], "lines": []}
    try:
        found = run.evaluation()
    except StoreError as error:
        return {**plain, "note": str(error)}
    if found is None:
        return {**plain, "note": words.FINDINGS_EMPTY if plain["can_measure"] else words.FINDINGS_LATER}
    measures = sorted(found.measures, key=lambda one: ORDER.index(one.role))
    return {
        **plain,
        "note": told(found),
        "columns": words.FINDINGS_COLUMNS,
        "rows": [{"cells": cells(one), "verdict": one.verdict} for one in measures],
        "lines": [[*LINE_HEADS, "verdict"], *(line(one) for one in measures)],
    }


def title_of(measure: str) -> str:
    if measure in REWARDS:
        return spec_of(measure).title
    return words.TOTALS.get(measure) or words.metric(measure)


def told(found: Evaluation) -> str:
    return words.evaluation(found.step, found.prompts, found.takes, found.num_frames)


def cells(one: Measure) -> list[str]:
    return [
        title_of(one.name),
        words.ROLES[one.role],
        f"{one.before.mean:.3f}",
        f"{one.after.mean:.3f}",
        _signed(one.change),
        words.VERDICTS[one.verdict],
    ]


def line(one: Measure) -> list[str | float]:
    """The same for a spreadsheet, with every interval."""
    sides = [getattr(one, side) for side in SIDES]
    numbers = [value for side in sides for value in (side.mean, side.low, side.high)]
    return [one.name, one.role, one.unit, one.wanted, *numbers, one.verdict]


def _signed(change: Interval) -> str:
    return f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


def _has_adapter(run: Run) -> bool:
    try:
        run.adapter_weights()
    except ConfigError:
        return False
    return True
