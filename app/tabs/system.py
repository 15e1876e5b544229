"""The System tab.

It shows device telemetry, models, versions, the ROCm environment, reward model weights and disk use.
"""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.components.action_table import ActionTable
from app.components.device_monitor import DeviceMonitor
from app.components.job_queue import JobWatch
from app.components.model_list import ModelList
from app.context import AppContext
from app.events import bind
from app.middleware.idempotency import once
from app.text import models as text_models
from app.text import system as text
from app.views import system
from app.views.jobs import watched_jobs
from app.views.models import model_list
from engine.errors import DailiesError
from engine.hardware.telemetry.monitor import Telemetry, TelemetryMonitor
from engine.jobs.maintenance_configs import inspect_job, weights_job
from engine.runs.disk_usage import clean, disk_use

KINDS = ("weights", "inspect")
DISK = "system-disk"  # the line of the events that fill its tables


class SystemTab:
    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        self.jobs = JobWatch("system-jobs", KINDS)
        with gr.Column(elem_classes="desk-panel"):
            gr.HTML(f"<h3>{text.TELEMETRY_WORDS['devices']}</h3>")
            DeviceMonitor("system-telemetry", TelemetryMonitor(Telemetry()))
        with gr.Column(elem_classes="desk-panel"):
            gr.HTML(f"<h3>{text_models.MODELS}</h3>")
            self.models = ModelList("system-models", context)
        with gr.Column(elem_classes="desk-panel"):
            gr.HTML(f"<h3>{text.WEIGHTS}</h3>")
            self.weights = ActionTable("system-weights")
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=5, min_width=340):
                with gr.Column(elem_classes="desk-panel"):
                    with gr.Row(elem_classes="titled"):
                        gr.HTML(f'<h3>{text.FINDINGS}</h3><p class="hint-left">{text.ASK_TORCH_HINT}</p>')
                        self.inspect = gr.Button(text.ASK_TORCH, size="sm", scale=0, min_width=120, elem_id="inspect")
                    self.findings = ActionTable("system-findings")
                with gr.Column(elem_classes="desk-panel"):
                    gr.HTML(f"<h3>{text.ENVIRONMENT}</h3>")
                    self.settings = ActionTable("system-settings")
                with gr.Column(elem_classes="desk-panel"):
                    gr.HTML(f"<h3>{text.VERSIONS}</h3>")
                    self.versions = ActionTable("system-versions")
            with gr.Column(scale=7, min_width=420):
                with gr.Column(elem_classes="desk-panel"):
                    with gr.Row(elem_classes="titled"):
                        gr.HTML(f"<h3>{text.DISK}</h3>")
                        self.measure = gr.Button(text.MEASURE, size="sm", scale=0, min_width=120, elem_id="measure")
                    self.disk = ActionTable("system-disk")
                    self.cleaning = ActionTable("system-cleaning")
        self._wire(tab)

    def _wire(self, tab: gr.Tab) -> None:
        shown = [self.jobs, self.models, self.findings, self.settings, self.versions, self.weights]
        bind(tab.select, self.refresh, None, shown)
        use = [self.disk, self.cleaning]
        bind(tab.select, self.measure_again, use, use, line=DISK)
        bind(self.measure.click, self.measure_again, use, use, line=DISK)
        bind(self.inspect.click, once(self.ask_torch), None, self.jobs)
        bind(self.weights.act, once(self.download), None, self.jobs)
        bind(self.cleaning.act, once(self.clean), use, use, line=DISK)
        bind(self.jobs.job_ended, self.refresh, None, shown)

    def refresh(self) -> list[Any]:
        return [
            watched_jobs(self.context, KINDS),
            model_list(self.context),
            system.findings(self.context.queue),
            system.settings(self.context.workspace),
            system.versions(),
            system.weights(),
        ]

    # ---- Disk: slow actions show a note, and disable the buttons meanwhile
    def measured(self, note: str = "") -> list[Any]:
        use = disk_use(self.context.store)
        return [system.disk_parts(use), system.disk_cleaning(use, note)]

    def measure_again(self, disk: system.Table | None, cleaning: system.Table | None) -> Iterator[list[Any]]:
        yield [disk, system.busy(cleaning, text.MEASURING)]
        yield self.measured()

    def ask_torch(self) -> dict[str, Any]:
        self.context.submit_shared(inspect_job())
        return watched_jobs(self.context, KINDS)

    def download(self, event: gr.EventData) -> dict[str, Any]:
        self.context.submit_shared(weights_job(event.key))
        return watched_jobs(self.context, KINDS)

    def clean(
        self, disk: system.Table | None, cleaning: system.Table | None, event: gr.EventData
    ) -> Iterator[list[Any]]:
        yield [disk, system.busy(cleaning, text.CLEARING)]
        try:
            freed = text.freed(clean(self.context.store, event.key))
        except DailiesError:
            yield self.measured()
            raise
        yield self.measured(freed)
