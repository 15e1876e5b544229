"""One slider over the checkpoints of a run, for the clips of the same prompts and seeds."""

from app import text_monitor as text
from app.components.files import Component
from app.views.samples import NOTHING


class SampleSlider(Component):
    """`value` comes from `app.views.samples.slider`. Events: show_sample {run, set, prompt}, sample_now {run},
    use_adapter {run}."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("sample_slider", NOTHING, words=text.SAMPLES_WORDS, elem_id=name, render=render)
