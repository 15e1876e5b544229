"""Components of the Monitor tab that show what a run changed: its evaluation and its samples."""

from app.components.base import Component
from app.text import monitor
from app.views.training.samples import NOTHING


class EvaluationTable(Component):
    """Evaluation of a run on held-out prompts: one row a measure, with its confidence interval.

    `value` comes from `app.views.training.evaluation.table`. Event: measure {run}.
    """

    custom_events = ("measure",)

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("evaluation_table", {}, words=monitor.FINDINGS_WORDS, elem_id=name, render=render)


class SampleBrowser(Component):
    """Slider over a run's checkpoints, for the samples of the same prompts and seeds.

    `value` comes from `app.views.training.samples.slider`.
    Events: show_sample {run, set, prompt, with}, sample_now {run}, use_adapter {run}.
    """

    custom_events = ("show_sample", "sample_now", "use_adapter")

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("sample_browser", NOTHING, words=monitor.SAMPLES_WORDS, elem_id=name, render=render)
