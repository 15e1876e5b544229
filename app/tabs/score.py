"""The Score tab: clips ranked by a mix with adjustable weights, and the scores of each clip."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.api.server_folders import opened_path
from app.components.clips import ClipDetails, ClipPlayer
from app.components.job_queue import JobWatch
from app.components.scores import RewardDisagreement, ScoreTable, WeightSliders
from app.context import AppContext
from app.events import bind, show_warning
from app.forms.preset_choices import default_choice, mix_choices
from app.middleware.idempotency import once
from app.plots.scores import matrix
from app.text import general, score
from app.text.help import icon
from app.views import campaign_ranking as ranking
from app.views import clip_panel, clip_sets, clips
from app.views.jobs import title, watched_jobs
from engine.config.presets import load_preset
from engine.errors import ConfigError, StoreError
from engine.jobs.spec import Job, JobSpec
from engine.storage.uploads import kept_uploads
from engine.video.reader import VIDEO_SUFFIXES, check_video
from rewards.calibration import mix_calibration

KINDS = ("score", "score_folder", "overlays")
RANKING = "score-ranking"  # the line of the events that fill the table
ACTIONS = ("star_clip", "show_in_library", "close_clip")


class ScoreTab:
    """The tab; `facts` and `inspector` are public for `app.page`, which connects the tabs."""

    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        with gr.Column(elem_classes=["desk-panel", "filters"]):
            self._choices()
        self._dropping()
        self.jobs = JobWatch("score-jobs", KINDS)
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=0, min_width=236, elem_classes=["desk-panel", "weights-panel"]):
                gr.HTML(f'<h3>{general.WEIGHTS} {icon("Mix")}</h3><p class="hint-left">{general.WEIGHTS_HINT}</p>')
                self.sliders = WeightSliders("score-weights", context)
            with gr.Column(scale=6, min_width=360, elem_classes="stage-column"):
                self.notice = gr.HTML("", visible=False, elem_id="score-notice", padding=False)
                self.table = ScoreTable("score-table")
                self._relations()
            with gr.Column(
                scale=5, min_width=420, visible=False, elem_classes=["desk-panel", "inspector"]
            ) as self.inspector:
                self._inspector()
        self._wire(tab)

    # ---- Layout
    def _choices(self) -> None:
        with gr.Row(elem_classes="tight"):
            self.which = gr.Dropdown(
                clip_sets.choices(self.context),
                value=clip_sets.NEWEST,
                label=general.WHICH,
                min_width=220,
                scale=4,
                elem_id="which",
            )
            self.mix = gr.Dropdown(
                mix_choices()[:-1], value=None, label=general.MIX, min_width=180, scale=3, elem_id="score-mix"
            )
            self.fill = gr.Button(general.SCORE_THESE, size="md", scale=0, min_width=200, elem_classes="beside-label")
            self.drop = gr.Button(general.DROP, size="md", scale=0, min_width=200, elem_classes="beside-label")

    def _dropping(self) -> None:
        with gr.Column(visible=False, elem_classes=["desk-panel", "importing"]) as self.drop_panel:
            gr.HTML(f"<h3>{general.DROP_TITLE}</h3>")
            with gr.Row(elem_classes="tight", equal_height=False):
                self.files = gr.File(
                    label=general.DROP_FILES,
                    file_count="multiple",
                    file_types=[*VIDEO_SUFFIXES, ".txt"],
                    height=150,
                    elem_id="score-files",
                    scale=3,
                )
                with gr.Column(scale=4, min_width=280):
                    self.folder = gr.Textbox(
                        label=general.DROP_FOLDER,
                        placeholder=general.DROP_FOLDER_HINT,
                        max_lines=1,
                        elem_id="score-folder",
                    )
                    self.prompt = gr.Textbox(label=general.DROP_PROMPT, max_lines=3, elem_id="score-prompt")
                    mixes = mix_choices()[:-1]
                    mix = default_choice(mixes, clip_sets.REAL_MIX)
                    self.import_mix = gr.Dropdown(mixes, value=mix, label=general.MIX, elem_id="score-import-mix")
                    with gr.Row(elem_classes="tight"):
                        self.drop_button = gr.Button(general.DROP_SUBMIT, variant="primary", elem_id="score-import")
                        self.drop_close = gr.Button(general.CLOSE)

    def _relations(self) -> None:
        with gr.Column(visible=False, elem_classes=["desk-panel", "relations"]) as self.relations:
            gr.HTML(f"<h3>{general.DISAGREEMENT}</h3>")
            self.disagreements = RewardDisagreement("score-disagreement")
            with gr.Column(visible=False) as self.correlations:
                gr.HTML(f'<h3>{general.CORRELATIONS}</h3><p class="hint-left">{general.CORRELATIONS_HINT}</p>')
                self.matrix = gr.Plot(show_label=False, container=False, elem_id="score-matrix", elem_classes="plot")

    def _inspector(self) -> None:
        self.facts = ClipDetails("score-facts", "alone")
        self.player = ClipPlayer("score")
        with gr.Row(elem_classes="tight"):
            self.overlay = gr.Dropdown(label=general.OVERLAY, choices=[], min_width=180, elem_id="overlay")
            self.draw = gr.Button(general.DRAW_OVERLAYS, size="md", scale=0, min_width=140, elem_classes="beside-label")
        self.timeline = gr.Plot(show_label=False, container=False, elem_id="score-timeline", elem_classes="plot")
        self.bars = gr.Plot(show_label=False, container=False, elem_id="score-bars", elem_classes="plot")
        self.radar = gr.Plot(show_label=False, container=False, elem_id="score-radar", elem_classes="plot")

    @property
    def ranking(self) -> list[Any]:
        """Outputs of `weigh`."""
        return [self.table, self.disagreements, self.matrix, self.correlations, self.relations]

    @property
    def opened(self) -> list[Any]:
        """Outputs of `open`."""
        return [self.inspector, self.facts, self.player, self.bars, self.radar, self.timeline, self.overlay, self.draw]

    def _wire(self, tab: gr.Tab) -> None:
        selection = [self.which, self.mix]
        loaded = [self.jobs, self.which, self.mix, self.notice, self.sliders, *self.ranking]
        for event in (tab.select, self.mix.input):
            bind(event, self.load, selection, loaded, line=RANKING)
        bind(self.which.input, self.load_suited, selection, loaded, line=RANKING)
        bind(
            self.sliders.weigh,
            self.weigh,
            [self.sliders, self.table, self.facts],
            [*self.ranking, self.facts],
            line=RANKING,
            trigger_mode="always_last",
        )
        bind(self.sliders.saved, lambda: gr.update(choices=mix_choices()[:-1]), None, self.mix)
        bind(self.fill.click, once(self.score_missing), [self.table, self.mix], self.jobs)
        weighed = [self.mix, self.sliders]
        bind(self.table.open_clip, self.open_event, weighed, self.opened)
        bind(self.disagreements.open_clip, self.open_event, weighed, self.opened)
        bind(self.table.close_clip, self.close, None, self.opened)
        bind(self.table.compare, self.compare, self.mix, self.opened)
        bind(self.facts.close_clip, self.close, None, self.opened)
        bind(self.facts.star_clip, once(self.star), weighed, self.opened)
        bind(self.overlay.input, self.show_overlay, [self.facts, self.overlay], self.player)
        bind(self.draw.click, once(self.draw_overlays), [self.facts, self.mix], self.jobs)
        bind(self.drop.click, lambda: gr.update(visible=True), None, self.drop_panel)
        bind(self.drop_close.click, lambda: gr.update(visible=False), None, self.drop_panel)
        dropped = [self.files, self.folder, self.prompt, self.import_mix]
        bind(self.drop_button.click, once(self.import_videos), dropped, [self.jobs, self.files, self.drop_panel])
        bind(self.table.show_set, self.show_set, None, loaded, line=RANKING)
        ended = [self.which, self.mix, self.facts, self.table]
        bind(self.jobs.job_ended, self.show_ended, ended, [*loaded, *self.opened], line=RANKING)

    # ---- The ranking
    def load(self, which: str, mix: str | None) -> list[Any]:
        """Rank the clips of a set by the mix's own weights; without a mix, by the one that suits the clips."""
        records = clip_sets.records(self.context, which)
        mix = mix or clip_sets.mix_for(records)
        preset = load_preset("rewards", mix)
        reports = self.context.store.reports([record.id for record in records], mix)
        calibration = mix_calibration(preset)
        rows = [ranking.row(record, reports.get(record.id), calibration) for record in records]
        sliders = ranking.sliders(preset)
        offered = gr.update(choices=clip_sets.choices(self.context), value=which)
        chosen = gr.update(choices=mix_choices()[:-1], value=mix)
        warning = clip_sets.warning(records, mix)
        notice = gr.update(
            value=f'<p class="warning-line" role="status">{html.escape(warning)}</p>', visible=bool(warning)
        )
        ranked = self._ranked(rows, sliders, clip_sets.failed(self.context, which))
        return [watched_jobs(self.context, KINDS), offered, chosen, notice, sliders, *ranked]

    def load_suited(self, which: str, mix: str | None) -> list[Any]:
        """Rank another set, by another mix if this one is not for its clips."""
        suits = mix and not clip_sets.warning(clip_sets.records(self.context, which), mix)
        return self.load(which, mix if suits else None)

    def weigh(
        self, sliders: dict[str, Any], table: dict[str, Any], facts: dict[str, Any] | None, event: gr.EventData
    ) -> list[Any]:
        """Rank the same clips by the weights of the sliders, without a database query."""
        ranked = self._ranked(table["rows"], {**sliders, "weights": event.weights}, table["failed"])
        ranked[0]["imported"] = table.get("imported")
        return [*ranked, ranking.with_total(facts, ranked[0]["rows"])]

    def _ranked(
        self, rows: Sequence[dict[str, Any]], sliders: dict[str, Any], failed: Sequence[dict[str, str]]
    ) -> list[Any]:
        weights = sliders["weights"]
        ranked = ranking.ranked(rows, weights, load_preset("rewards", sliders["mix"]).gates)
        measures = ranking.columns(ranked, list(weights))
        scored = any(clip["total"] is not None for clip in ranked)
        varied, values = ranking.correlated(measures)
        plot = matrix([measure.title for measure in varied], values) if varied else None
        disagreements = ranking.disagreements(ranked, measures) if scored else []
        shown = [gr.update(visible=bool(varied)), gr.update(visible=scored)]
        return [ranking.table(ranked, weights, failed), disagreements, plot, *shown]

    def score_missing(self, table: dict[str, Any], mix: str) -> dict[str, Any]:
        """Score the clips of the table that have no score of this mix with its current calibration."""
        missing = [clip["id"] for clip in table["rows"] if not clip["values"] or clip["old"]]
        if missing:
            self.context.submit(JobSpec.score(missing, mix))
        else:
            show_warning(general.ALL_SCORED)
        return watched_jobs(self.context, KINDS)

    # ---- One clip, or several
    def open(
        self, clip_id: str, mix: str | None, sliders: dict[str, Any] | None = None, overlay: str = ""
    ) -> list[Any]:
        """Show a clip with its scores by a mix, and next to it the `overlay` of this name if it exists.

        The total is that of the weights of the `sliders`, if these are of this mix. Without a mix it is the one that
        suits the clip.
        """
        record = self.context.store.clip(clip_id)
        mix = mix or clip_sets.mix_for([record])
        preset = load_preset("rewards", mix)
        view = clip_panel.one(self.context.store, record, ACTIONS, mix=mix)
        weights = sliders["weights"] if sliders and sliders["mix"] == mix else preset.weights
        row = ranking.row(record, self.context.store.report(clip_id, mix), mix_calibration(preset))
        facts = ranking.with_total(view.facts, ranking.ranked([row], weights, preset.gates))
        drawn = clips.overlays(self.context.workspace, clip_id)
        player = clips.with_overlay(record, overlay) if overlay in drawn else view.player
        pick = gr.update(
            choices=clip_sets.overlay_choices(drawn), value=overlay if overlay in drawn else "", visible=True
        )
        return [gr.update(visible=True), facts, player, *_plots(view), pick, gr.update(visible=True)]

    def open_event(self, mix: str | None, sliders: dict[str, Any], event: gr.EventData) -> list[Any]:
        return self.open(event.id, mix, sliders)

    def compare(self, mix: str, event: gr.EventData) -> list[Any]:
        records = clip_panel.in_order(self.context.store, event.ids)
        view, hidden = clip_panel.several(self.context.store, records, mix=mix), gr.update(visible=False)
        return [gr.update(visible=True), None, view.player, *_plots(view), hidden, hidden]

    def close(self) -> list[Any]:
        view, skip = clip_panel.NOTHING, gr.skip()
        return [gr.update(visible=False), view.facts, view.player, *_plots(view), skip, skip]

    def star(self, mix: str, sliders: dict[str, Any], event: gr.EventData) -> list[Any]:
        self.context.store.star(event.ids, event.starred)
        return self.open(event.id, mix, sliders)

    # ---- Overlays
    def show_overlay(self, facts: dict[str, Any], overlay: str) -> dict[str, Any]:
        record = self.context.store.clip(facts["id"])
        return clips.with_overlay(record, overlay) if overlay else clips.player([record])

    def draw_overlays(self, facts: dict[str, Any], mix: str) -> dict[str, Any]:
        self.context.submit_shared(JobSpec.overlays(facts["id"], mix))
        return watched_jobs(self.context, KINDS)

    # ---- Import
    def import_videos(self, files: Sequence[str] | None, folder: str, prompt: str, mix: str | None) -> list[Any]:
        """Queue a folder of the server or the uploaded videos; reject a single video with an invalid header."""
        if not mix:
            raise ConfigError(general.NO_MIXES)
        dropped = [Path(path) for path in files or ()]
        if folder.strip():
            self.context.submit(JobSpec.score_folder(opened_path(self.context, folder), prompt, mix))
        else:
            self._file_dropped(dropped, prompt, mix)
        return [watched_jobs(self.context, KINDS), None, gr.update(visible=False)]

    def _file_dropped(self, dropped: Sequence[Path], prompt: str, mix: str) -> None:
        videos = [path for path in dropped if path.suffix.lower() in VIDEO_SUFFIXES]
        if not videos:
            raise ConfigError(general.NOTHING_TO_SCORE)
        if len(dropped) == 1:
            check_video(videos[0])
        with kept_uploads(self.context.workspace, dropped) as folder:
            alone = len(dropped) == 1
            spec = JobSpec.score_file(folder / videos[0].name, prompt, mix) if alone else None
            self.context.submit(spec or JobSpec.score_folder(folder, prompt, mix))

    # ---- Results of jobs
    def show_ended(
        self, which: str, mix: str, facts: dict[str, Any] | None, table: dict[str, Any], event: gr.EventData
    ) -> list[Any]:
        """Show new scores, and offer imported videos; an empty table shows them at once."""
        jobs = [job for job_id in event.ids if (job := self.context.queue.get(job_id)).status == "done"]
        imports = [job for job in jobs if job.kind == "score_folder" or job.config.get("path")]
        imported = _imported(imports[-1]) if imports else None
        if imported and not (table and table["rows"]):
            which, mix, imported = imported["which"], imported["mix"], None
        about = self._about(jobs[-1], mix, facts) if jobs else [gr.skip()] * len(self.opened)
        loaded = self.load(which, mix)
        loaded[len(loaded) - len(self.ranking)]["imported"] = imported
        return [*loaded, *about]

    def show_set(self, event: gr.EventData) -> list[Any]:
        """Rank the clips of an import."""
        return self.load(event.which, event.mix)

    def _about(self, job: Job, mix: str, facts: dict[str, Any] | None) -> list[Any]:
        result = job.result or {}
        if job.kind == "overlays":
            if not result["overlays"]:
                show_warning(general.NO_OVERLAYS)
            return self.open(result["clip_id"], mix, overlay=next(iter(result["overlays"]), ""))
        try:
            return self.open(facts["id"], mix) if facts else self.close()
        except StoreError:  # the clip was deleted meanwhile
            return self.close()


def _imported(job: Job) -> dict[str, str]:
    """Return the set of an import's clips, its mix, and the sentence that offers it."""
    which = clip_sets.of_job(job) if job.kind == "score_folder" else clip_sets.NEWEST
    sentence = score.imported(title(job), len((job.result or {}).get("unread", ())))
    return {"which": which, "mix": str(job.config["mix"]), "sentence": sentence}


def _plots(view: clip_panel.View) -> list[Any]:
    """Return updates for bars, radar and timeline; empty ones are hidden."""
    shown = (view.bars, view.radar, view.timeline)
    return [gr.update(value=plot, visible=plot is not None) for plot in shown]
