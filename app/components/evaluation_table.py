"""What a run changed, measured on prompts that it was not trained on: a row a measure, with its interval."""

from app.components.base import Component
from app.text import monitor


class EvaluationTable(Component):
    """`value` comes from `app.views.training.evaluation.sheet`. Event: measure {run}."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("evaluation_table", {}, words=monitor.FINDINGS_WORDS, elem_id=name, render=render)
