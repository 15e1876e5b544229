"""The Monitor tab: metric curves of runs, curricula, checkpoint samples and evaluations."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.components.clips import ClipPlayer
from app.components.curriculum_progress import CurriculumProgress
from app.components.evaluation import EvaluationTable, SampleBrowser
from app.components.job_queue import JobWatch
from app.components.metric_charts import MetricCharts
from app.context import AppContext
from app.events import bind
from app.middleware.idempotency import once
from app.text import monitor as text
from app.text.help import icon
from app.trackio_dashboard import trackio_link
from app.views.jobs import watched_jobs
from app.views.training import curriculum_progress, evaluation, samples
from app.views.training.metric_charts import CurveFeed
from engine.jobs.maintenance_configs import samples_job
from engine.jobs.spec import JobSpec
from engine.runs.run import Run, list_runs
from engine.runs.samples import RunSamples

KINDS = ("train", "curriculum", "evaluate", "samples")
SHOWING = "monitor-samples"  # the line of the events that fill the slider and the player


class MonitorTab:
    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        self.feed = CurveFeed(context)
        self.jobs = JobWatch("monitor-jobs", KINDS)
        self.curves = MetricCharts("monitor-curves", context, self.feed)
        self.stages = CurriculumProgress("monitor-stages", context)
        with gr.Column(elem_classes=["desk-panel", "run-samples"]):
            with gr.Row(elem_classes="titled"):
                gr.HTML(f"<h3>{text.SAMPLES}</h3>")
                self.trackio = gr.HTML(
                    trackio_link(context.workspace), elem_id="trackio-link", elem_classes="aside-link"
                )
            self.slider = SampleBrowser("monitor-samples")
            with gr.Row(elem_classes="watch", equal_height=False):
                with gr.Column(scale=6, min_width=360):
                    self.player = ClipPlayer("monitor")
                with gr.Column(scale=5, min_width=320):
                    self.bars = gr.Plot(
                        show_label=False, container=False, visible=False, elem_id="monitor-bars", elem_classes="plot"
                    )
        with gr.Column(elem_classes=["desk-panel", "run-evaluation"]):
            gr.HTML(f"<h3>{text.FINDINGS} {icon('Evaluation')}</h3>")
            self.findings = EvaluationTable("monitor-findings")
        self._wire(tab)

    @property
    def shown(self) -> list[Any]:
        """Outputs of `look` and `move`."""
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
        return [
            watched_jobs(self.context, KINDS),
            curriculum_progress.curriculum_list(self.context),
            trackio_link(self.context.workspace),
        ]

    # ---- Samples
    def look(self, event: gr.EventData) -> list[Any]:
        """Show the newest samples of another run with those of the ticked runs."""
        return self._at(Run.find(self.context.workspace, event.id), others=getattr(event, "with"))

    def follow(self, slider: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Handle new sets of samples: move on if the newest one was shown, else keep the position."""
        sets, at = slider["sets"], slider["set"]
        stays = slider["run"] == event.id and at < len(sets) - 1
        run, name = Run.find(self.context.workspace, event.id), sets[at]["name"] if stays else None
        return self._at(run, name, slider["prompt"], getattr(event, "with"))

    def move(self, event: gr.EventData) -> list[Any]:
        run = Run.find(self.context.workspace, event.run)
        return self._at(run, event.set, event.prompt, getattr(event, "with"))

    def _at(self, run: Run, name: str | None = None, prompt: int = 0, others: Sequence[str] = ()) -> list[Any]:
        there = {one.id for one in list_runs(self.context.workspace)}
        value = samples.slider(run, name, prompt, [other for other in others if other in there])
        player, bars = samples.shown(run, value)
        plot = gr.update(value=bars, visible=bars is not None)
        table = evaluation.table(run, value["with"])
        return [{**value, "files": samples.files(player)}, player, plot, table]

    def sample_now(self, slider: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Request samples from the training process, or queue a job if the run is not training."""
        run = Run.find(self.context.workspace, event.run)
        if self.feed.state(run, self.feed.jobs()) == "running":
            RunSamples(run).request()
            return [{**slider, "note": text.SAMPLES_WORDS["asked"]}, watched_jobs(self.context, KINDS)]
        self.context.submit_shared(samples_job(run.id))
        return [slider, watched_jobs(self.context, KINDS)]

    # ---- Evaluation
    def measure(self, event: gr.EventData) -> dict[str, Any]:
        self.context.submit_shared(JobSpec.evaluate(Run.find(self.context.workspace, event.run).id))
        return watched_jobs(self.context, KINDS)

    def measured(self, slider: dict[str, Any]) -> dict[str, Any]:
        """Refresh the evaluation of the shown run after a job has ended."""
        run = Run.find(self.context.workspace, slider["run"]) if slider.get("run") else None
        return evaluation.table(run, slider.get("with", ()))
