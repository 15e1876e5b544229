"""Metric curves of several runs, with alarms as marks; they poll the server while they are visible."""

from typing import Any

from app.components.base import Component
from app.events import with_problem
from app.plots.scores import SERIES
from app.text import monitor as text
from app.views.training.metric_charts import CurveFeed


class MetricCharts(Component):
    """Metric curves. Events: look_at {id}, a run was chosen; sets_changed {id}, that run has new samples."""

    custom_events = ("look_at", "sets_changed")

    def __init__(self, name: str, feed: CurveFeed, *, render: bool = True) -> None:
        def news(request: Any = None) -> dict[str, Any]:
            return feed.news(request if isinstance(request, dict) else {})

        def points(request: Any = None) -> dict[str, Any]:
            return feed.points(request if isinstance(request, dict) else {})

        super().__init__(
            "metric_charts",
            words=text.CURVES_WORDS,
            elem_id=name,
            server_functions=[with_problem(news), with_problem(points)],
            render=render,
            colours=list(SERIES),
        )
