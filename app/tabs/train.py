"""The Train tab: a recipe with its settings on the left, the queue and the runs on the right."""

from typing import Any

import gradio as gr

from app.components.run_queue import RunQueue
from app.components.train_form import TrainForm
from app.context import AppContext
from app.events import bind
from app.views.training import runs, train_form


class TrainTab:
    def __init__(self, desk: AppContext, tab: gr.Tab) -> None:
        self.desk = desk
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=0, min_width=440, elem_classes=["desk-panel", "recipe-panel"]):
                self.form = TrainForm("train-form", desk)
            with gr.Column(scale=1, min_width=420, elem_classes="stage-column"):
                self.board = RunQueue("train-board", desk)
        bind(tab.select, self.arrive, self.form, [self.form, self.board])
        bind(self.form.run_filed, self.refresh, None, self.board)
        bind(self.board.clone_run, self.clone, None, self.form)

    def arrive(self, shown: dict[str, Any]) -> list[Any]:
        """The form stays as somebody left it; it is filled once, with what the browser kept where it is `fresh`."""
        return [shown or {**train_form.opened(self.desk), "fresh": True}, self.refresh()]

    def refresh(self) -> dict[str, Any]:
        return runs.board(self.desk)

    def clone(self, event: gr.EventData) -> dict[str, Any]:
        return train_form.opened(self.desk, run=event.run)
