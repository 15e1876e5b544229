"""Table of runs with the metric curves of several, and alarms as marks.

They poll the server while they are visible.
"""

from typing import Any

from typing_extensions import TypedDict

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.plots.scores import SERIES
from app.text import monitor as text
from app.views.training.metric_charts import CurveFeed
from app.views.training.run_table import differences
from engine.jobs.runs import run_actions
from engine.runs.purge import deleted_runs, restore_runs
from engine.runs.run import Run
from engine.runs.run_notes import write_notes

MAX_COMPARED_RUNS = 12  # runs at once


class Description(TypedDict):
    """Name, tags and notes of a run."""

    id: str
    name: str
    tags: list[str]
    text: str


class MetricCharts(Component):
    """Table of runs and their metric curves.

    Events: look_at {id, with}, a run was chosen; sets_changed {id, with}, that run has new samples or has ended. `with`
    are the other runs to compare it with.
    """

    custom_events = ("look_at", "sets_changed")

    def __init__(self, name: str, context: AppContext, feed: CurveFeed, *, render: bool = True) -> None:
        def news(request: Any = None) -> dict[str, Any]:
            return feed.news(request if isinstance(request, dict) else {})

        def points(request: Any = None) -> dict[str, Any]:
            return feed.points(request if isinstance(request, dict) else {})

        def compare_settings(runs: list[str]) -> dict[str, Any]:
            return {"rows": differences([Run.find(context.workspace, run) for run in runs[:MAX_COMPARED_RUNS]])}

        def describe(notes: Description) -> dict[str, Any]:
            write_notes(Run.find(context.workspace, notes["id"]), notes["name"], notes["tags"], notes["text"])
            return {}

        def delete_runs(runs: list[str]) -> dict[str, Any]:
            run_actions.delete(context.queue, runs)
            return {"deleted": deleted_runs(context.workspace)}

        def restore_deleted(runs: list[str]) -> dict[str, Any]:
            restored = restore_runs(context.workspace, runs)
            return {"restored": restored, "deleted": deleted_runs(context.workspace)}

        super().__init__(
            "metric_charts",
            words=text.CURVES_WORDS,
            elem_id=name,
            server_functions=[
                *(with_problem(function) for function in (news, points, compare_settings)),
                *(with_problem(once(function)) for function in (describe, delete_runs, restore_deleted)),
            ],
            render=render,
            colours=list(SERIES),
        )
