"""Curves of several runs over each other, with alarms as marks. It asks for news only while somebody sees it."""

from typing import Any

from app.components.base import Component
from app.events import with_problem
from app.plots.scores import SERIES
from app.text import monitor as text
from app.views.training.metric_charts import CurveFeed


class MetricCharts(Component):
    """Events: look_at {id}, when a run was chosen; sets_changed {id}, when that run has more samples."""

    def __init__(self, name: str, feed: CurveFeed, *, render: bool = True) -> None:
        def news(asked: Any = None) -> dict[str, Any]:
            return feed.news(asked if isinstance(asked, dict) else {})

        def points(asked: Any = None) -> dict[str, Any]:
            return feed.points(asked if isinstance(asked, dict) else {})

        super().__init__(
            "metric_charts",
            words=text.CURVES_WORDS,
            elem_id=name,
            server_functions=[with_problem(news), with_problem(points)],
            before=["chart_canvas"],
            render=render,
            colours=list(SERIES),
        )
