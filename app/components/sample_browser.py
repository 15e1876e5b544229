"""One slider over the checkpoints of a run, for the clips of the same prompts and seeds."""

from app.components.base import Component
from app.text import monitor as text
from app.views.training.samples import NOTHING


class SampleBrowser(Component):
    """`value` comes from `app.views.training.samples.slider`. Events: show_sample {run, set, prompt}, sample_now {run},
    use_adapter {run}."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("sample_browser", NOTHING, words=text.SAMPLES_WORDS, elem_id=name, render=render)
