"""The Monitor tab: the curves of several runs, curricula, and the same clips at every checkpoint beside the base's."""

from typing import Any

import gradio as gr

from app.components.clip_player import ClipPlayer
from app.components.curriculum_progress import CurriculumProgress
from app.components.evaluation_table import EvaluationTable
from app.components.job_list import JobList
from app.components.metric_charts import MetricCharts
from app.components.sample_browser import SampleBrowser
from app.context import AppContext
from app.events import bind
from app.middleware.idempotency import once
from app.text import monitor as text
from app.trackio_dashboard import trackio_link
from app.views.jobs import strip
from app.views.training import curriculum_progress, evaluation, samples
from app.views.training.metric_charts import CurveFeed
from engine.jobs.maintenance_configs import samples_job
from engine.jobs.spec import JobSpec
from engine.runs.run import Run
from engine.runs.samples import RunSamples

KINDS = ("train", "curriculum", "evaluate", "samples")
SHOWING = "monitor-samples"  # the line of the events that fill the slider and the player


class MonitorTab:
    def __init__(self, desk: AppContext, tab: gr.Tab) -> None:
        self.desk = desk
        self.feed = CurveFeed(desk)
        self.jobs = JobList("monitor-jobs", desk, KINDS)
        self.stages = CurriculumProgress("monitor-stages", desk)
        with gr.Column(elem_classes=["desk-panel", "run-samples"]):
            with gr.Row(elem_classes="titled"):
                gr.HTML(f"<h3>{text.SAMPLES}</h3>")
                self.trackio = gr.HTML(trackio_link(desk.workspace), elem_id="trackio-link", elem_classes="aside-link")
            self.slider = SampleBrowser("monitor-samples")
            with gr.Row(elem_classes="watch", equal_height=False):
                with gr.Column(scale=6, min_width=360):
                    self.player = ClipPlayer("monitor")
                with gr.Column(scale=5, min_width=320):
                    self.bars = gr.Plot(
                        show_label=False, container=False, visible=False, elem_id="monitor-bars", elem_classes="plot"
                    )
        with gr.Column(elem_classes="desk-panel"):
            gr.HTML(f"<h3>{text.FINDINGS}</h3>")
            self.findings = EvaluationTable("monitor-findings")
        self.curves = MetricCharts("monitor-curves", self.feed)
        self._wire(tab)

    @property
    def shown(self) -> list[Any]:
        """What `look` and `move` fill."""
        return [self.slider, self.player, self.bars, self.findings]

    def _wire(self, tab: gr.Tab) -> None:
        bind(tab.select, self.refresh, None, [self.jobs, self.stages, self.trackio])
        bind(self.curves.look_at, self.look, None, self.shown, line=SHOWING)
        bind(self.curves.sets_changed, self.follow, self.slider, self.shown, line=SHOWING)
        bind(self.slider.show_sample, self.move, None, self.shown, line=SHOWING, trigger_mode="always_last")
        bind(self.slider.sample_now, once(self.sample_now), self.slider, [self.slider, self.jobs])
        bind(self.findings.measure, once(self.measure), None, self.jobs)
        bind(self.jobs.job_ended, self.measured, self.slider, self.findings)

    def refresh(self) -> list[Any]:
        return [strip(self.desk, KINDS), curriculum_progress.strip(self.desk), trackio_link(self.desk.workspace)]

    # ---- Samples
    def look(self, event: gr.EventData) -> list[Any]:
        """Another run's samples, the newest first."""
        return self._at(Run.find(self.desk.workspace, event.id))

    def follow(self, slider: dict[str, Any], event: gr.EventData) -> list[Any]:
        """There are more sets: who looks at the newest is taken along, anybody else stays where they are."""
        known, at = slider["sets"], slider["set"]
        stays = slider["run"] == event.id and at < len(known) - 1
        return self._at(Run.find(self.desk.workspace, event.id), known[at]["name"] if stays else None, slider["prompt"])

    def move(self, event: gr.EventData) -> list[Any]:
        return self._at(Run.find(self.desk.workspace, event.run), event.set, event.prompt)

    def _at(self, run: Run, name: str | None = None, prompt: int = 0) -> list[Any]:
        value = samples.slider(run, name, prompt)
        player, bars = samples.shown(run, value)
        plot = gr.update(value=bars, visible=bars is not None)
        return [{**value, "files": samples.files(player)}, player, plot, evaluation.sheet(run)]

    def sample_now(self, slider: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Ask the process that trains, or file a job for a run that nobody trains now."""
        run = Run.find(self.desk.workspace, event.run)
        if self.feed.state(run, self.feed.jobs()) == "running":
            RunSamples(run).request()
            return [{**slider, "note": text.SAMPLES_WORDS["asked"]}, strip(self.desk, KINDS)]
        self.desk.file_shared(samples_job(run.id))
        return [slider, strip(self.desk, KINDS)]

    # ---- What it changed
    def measure(self, event: gr.EventData) -> dict[str, Any]:
        self.desk.file_shared(JobSpec.evaluate(Run.find(self.desk.workspace, event.run).id))
        return strip(self.desk, KINDS)

    def measured(self, slider: dict[str, Any]) -> dict[str, Any]:
        """Of the run that is looked at: a job may have ended that measured it."""
        return evaluation.sheet(Run.find(self.desk.workspace, slider["run"]) if slider.get("run") else None)
