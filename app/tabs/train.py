"""The Train tab: a preset with its settings on the left, the runs on the right."""

from typing import Any

import gradio as gr

from app.components.run_list import RunList
from app.components.train_form import TrainForm
from app.context import AppContext
from app.events import bind
from app.views.training import runs, train_form


class TrainTab:
    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=0, min_width=440, elem_classes=["desk-panel", "preset-panel"]):
                self.form = TrainForm("train-form", context)
            with gr.Column(scale=1, min_width=420, elem_classes="stage-column"):
                self.board = RunList("train-board", context)
        bind(tab.select, self.on_tab_selected, self.form, [self.form, self.board])
        bind(self.form.run_submitted, self.refresh, None, self.board)
        bind(self.board.clone_run, self.clone, None, self.form)

    def on_tab_selected(self, shown: dict[str, Any]) -> list[Any]:
        """Fill the form once; a `fresh` form is completed with the choices stored in the browser."""
        return [shown or {**train_form.open_form(self.context), "fresh": True}, self.refresh()]

    def refresh(self) -> dict[str, Any]:
        return runs.run_list(self.context)

    def clone(self, event: gr.EventData) -> dict[str, Any]:
        return train_form.open_form(self.context, run=event.run)
