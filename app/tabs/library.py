"""The Library tab: a grid of all clips, details of one, comparison of several, and import of videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.components.clips import ClipDetails, ClipGrid, ClipPlayer
from app.components.job_queue import JobWatch
from app.context import AppContext
from app.events import bind
from app.forms.preset_choices import default_choice, mix_choices
from app.middleware.idempotency import once
from app.text import general
from app.views import clip_panel, clip_sets, library
from app.views.jobs import clip_ids, watched_jobs
from engine.errors import ConfigError
from engine.jobs.spec import JobSpec
from engine.runs.in_use import check_unused
from engine.storage.uploads import kept_uploads
from engine.video.reader import VIDEO_SUFFIXES, check_video

GRID = "library-grid"  # the line of the events that fill the grid
KIND = "score"
ACTIONS = ("use_settings", "score_clip", "star_clip", "remove_clip", "close_clip")
UNFILTERED = ("", "newest", "any", library.ALL, library.ALL, library.ALL, 0, 1, False)


class LibraryTab:
    """The tab; `facts` and `opened` are public for `app.page`, which connects the tabs."""

    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        with gr.Column(elem_classes=["desk-panel", "filters"]):
            self._filters()
        self._importing()
        with gr.Column(visible=False, elem_classes=["desk-panel", "compared"]) as self.comparison:
            self._comparison()
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=6, min_width=360):
                self.jobs = JobWatch("library-jobs", KIND)
                self.grid = ClipGrid("library-grid", "library")
            with gr.Column(
                scale=5, min_width=420, visible=False, elem_classes=["desk-panel", "inspector"]
            ) as self.inspector:
                self._inspector()
        self._wire(tab)

    # ---- Layout
    def _filters(self) -> None:
        store = self.context.store
        with gr.Row(elem_classes="tight"):
            search = gr.Textbox(
                label=general.SEARCH, placeholder=general.SEARCH_HINT, max_lines=1, scale=4, elem_id="search"
            )
            order = gr.Dropdown(library.orders(), value="newest", label=general.ORDER, min_width=150, elem_id="order")
            date = gr.Dropdown(_pairs(general.DATES), value="any", label=general.DATE, min_width=150, elem_id="date")
            low, high = (
                gr.Number(bound, minimum=0, maximum=1, step=0.05, label=label, min_width=100, elem_id=name)
                for bound, label, name in ((0, general.SCORE_FROM, "score-from"), (1, general.SCORE_TO, "score-to"))
            )
        with gr.Row(elem_classes="tight"):
            models = library.choices(general.ANY_MODEL, store.models())
            adapters = library.adapter_choices(store)
            sources = [(general.ANY_SOURCE, library.ALL), *_pairs(general.SOURCES)]
            model = gr.Dropdown(models, value=library.ALL, label=general.MODEL, min_width=150, elem_id="filter-model")
            adapter = gr.Dropdown(
                adapters, value=library.ALL, label=general.ADAPTER, min_width=150, elem_id="filter-adapter"
            )
            source = gr.Dropdown(sources, value=library.ALL, label=general.SOURCE, min_width=150, elem_id="source")
            starred = gr.Checkbox(
                label=general.STARRED, elem_id="starred", scale=0, min_width=130, elem_classes="beside-label"
            )
            self.clear = gr.Button(
                general.CLEAR_FILTERS, size="md", scale=0, min_width=120, elem_classes="beside-label"
            )
            self.importer = gr.Button(general.IMPORT, size="md", scale=0, min_width=150, elem_classes="beside-label")
        self.filters = [search, order, date, model, adapter, source, low, high, starred]

    def _importing(self) -> None:
        with gr.Column(visible=False, elem_classes=["desk-panel", "importing"]) as self.import_panel:
            gr.HTML(f"<h3>{general.IMPORT_TITLE}</h3>")
            with gr.Row(elem_classes="tight", equal_height=False):
                self.upload = gr.File(
                    label=general.IMPORT_FILE, file_types=list(VIDEO_SUFFIXES), height=132, elem_id="upload", scale=3
                )
                with gr.Column(scale=4, min_width=280):
                    self.upload_prompt = gr.Textbox(label=general.IMPORT_PROMPT, max_lines=3, elem_id="upload-prompt")
                    mixes = mix_choices()[:-1]
                    mix = default_choice(mixes, clip_sets.REAL_MIX)
                    self.mix = gr.Dropdown(mixes, value=mix, label=general.MIX, elem_id="upload-mix")
                    with gr.Row(elem_classes="tight"):
                        self.import_button = gr.Button(general.IMPORT_SUBMIT, variant="primary", elem_id="import")
                        self.import_close = gr.Button(general.CLOSE)

    def _comparison(self) -> None:
        with gr.Row(elem_classes="titled"):
            gr.HTML(f"<h3>{general.COMPARE_TITLE}</h3>")
            self.compare_close = gr.Button(general.CLOSE, size="sm", scale=0, min_width=90, elem_id="compare-close")
        self.compared = ClipPlayer("compare", reveals=True)
        self.compared_bars = gr.Plot(show_label=False, container=False, elem_id="compare-bars", elem_classes="plot")

    def _inspector(self) -> None:
        self.facts = ClipDetails("library-facts", "head", grid="library-grid")
        self.player = ClipPlayer("library")
        self.bars = gr.Plot(show_label=False, container=False, elem_id="library-bars", elem_classes="plot")
        self.timeline = gr.Plot(show_label=False, container=False, elem_id="library-timeline", elem_classes="plot")
        self.details = ClipDetails("library-details", "details")

    unfiltered = UNFILTERED

    @property
    def opened(self) -> list[Any]:
        """Outputs of `open`."""
        return [self.inspector, self.facts, self.player, self.bars, self.timeline, self.details]

    @property
    def shown(self) -> list[Any]:
        """Outputs of `refresh`."""
        return [self.jobs, self.grid, self.filters[3], self.filters[4]]

    def _wire(self, tab: gr.Tab) -> None:
        bind(tab.select, self.refresh, self.filters, self.shown, line=GRID)
        for component in self.filters:
            # Gradio's text fields do not fire `input` when text is pasted by mouse or cleared.
            event = component.input if isinstance(component, gr.Dropdown | gr.Checkbox) else component.change
            bind(event, self.find, self.filters, self.grid, line=GRID, trigger_mode="always_last")
        bind(self.clear.click, self.unfilter, None, [*self.filters, self.grid], line=GRID)
        bind(self.grid.turn_page, self.turn, self.filters, self.grid, line=GRID)
        bind(self.grid.open_clip, self.open_event, None, self.opened)
        bind(self.grid.compare, self.compare, None, [self.comparison, self.compared, self.compared_bars])
        bind(self.grid.remove_clips, once(self.remove), [self.grid, *self.filters], self.grid)
        bind(self.grid.undo_removal, once(self.undo), [self.grid, *self.filters], self.grid)
        starring = [self.grid, self.facts, *self.filters]
        bind(self.grid.star_clip, once(self.star), starring, [self.grid, self.facts])
        bind(self.facts.star_clip, once(self.star), starring, [self.grid, self.facts])
        bind(self.facts.remove_clip, once(self.remove_opened), [self.grid, *self.filters], [self.grid, *self.opened])
        bind(self.facts.close_clip, self.close, None, self.opened)
        bind(self.facts.visit_clip, self.open_event, None, self.opened)
        bind(self.facts.score_clip, once(self.score), None, self.jobs)
        bind(
            self.compare_close.click, self.close_comparison, None, [self.comparison, self.compared, self.compared_bars]
        )
        bind(self.jobs.job_ended, self.show_scored, self.filters, [self.grid, *self.opened])
        bind(self.importer.click, lambda: gr.update(visible=True), None, self.import_panel)
        bind(self.import_close.click, lambda: gr.update(visible=False), None, self.import_panel)
        importing = [self.upload, self.upload_prompt, self.mix]
        bind(self.import_button.click, once(self.import_video), importing, [self.jobs, self.upload, self.import_panel])

    # ---- The grid
    def refresh(self, *filters: Any) -> list[Any]:
        """Refresh clips, models and adapters when the tab is opened."""
        store = self.context.store
        models = gr.update(choices=library.choices(general.ANY_MODEL, store.models()))
        adapters = gr.update(choices=library.adapter_choices(store))
        return [watched_jobs(self.context, KIND), self.find(*filters), models, adapters]

    def find(self, *filters: Any) -> dict[str, Any]:
        return library.page(self.context.store, library.read_filter(filters))

    def unfilter(self) -> list[Any]:
        return [*UNFILTERED, self.find(*UNFILTERED)]

    def turn(self, event: gr.EventData, *filters: Any) -> dict[str, Any]:
        return library.page(self.context.store, library.read_filter(filters), event.page)

    def remove(self, event: gr.EventData, *grid_and_filters: Any) -> dict[str, Any]:
        check_unused(self.context.store, event.ids)
        self.context.store.delete(event.ids)
        return self._same_page(grid_and_filters, removed=event.ids)

    def undo(self, event: gr.EventData, *grid_and_filters: Any) -> dict[str, Any]:
        self.context.store.restore(event.ids)
        return self._same_page(grid_and_filters)

    def star(
        self, event: gr.EventData, grid: dict[str, Any], opened: dict[str, Any] | None, *filters: Any
    ) -> list[Any]:
        """Star or unstar a clip, in the grid and in the details."""
        store = self.context.store
        store.star(event.ids, event.starred)
        facts = clip_panel.one(store, store.clip(opened["id"]), ACTIONS).facts if opened else None
        return [self._same_page([grid, *filters]), facts]

    def _same_page(self, grid_and_filters: Sequence[Any], removed: Sequence[str] = ()) -> dict[str, Any]:
        grid, *filters = grid_and_filters
        return library.page(self.context.store, library.read_filter(filters), grid["page"], removed)

    # ---- One clip
    def open(self, clip_id: str) -> list[Any]:
        """Show the details of one clip next to the grid."""
        record = self.context.store.clip(clip_id)
        return self._opened(clip_panel.one(self.context.store, record, ACTIONS))

    def open_event(self, event: gr.EventData) -> list[Any]:
        return self.open(event.id)

    def close(self) -> list[Any]:
        return self._opened(clip_panel.NOTHING)

    def remove_opened(self, event: gr.EventData, *grid_and_filters: Any) -> list[Any]:
        check_unused(self.context.store, [event.id])
        self.context.store.delete([event.id])
        return [self._same_page(grid_and_filters, removed=[event.id]), *self.close()]

    def score(self, event: gr.EventData) -> dict[str, Any]:
        """Score the clip by its previous mix, or else by the mix that suits its source."""
        clip = self.context.store.clip(event.id)
        self.context.submit(JobSpec.score([event.id], clip.mix or clip_sets.mix_for([clip])))
        return watched_jobs(self.context, KIND)

    def _opened(self, view: clip_panel.View) -> list[Any]:
        column = gr.update(visible=view.facts is not None)
        return [column, view.facts, view.player, *plots(view), view.facts]

    # ---- Comparison
    def compare(self, event: gr.EventData) -> list[Any]:
        records = clip_panel.in_order(self.context.store, event.ids)
        view = clip_panel.several(self.context.store, records)
        return [gr.update(visible=True), view.player, plots(view)[0]]

    def close_comparison(self) -> list[Any]:
        return [gr.update(visible=False), clip_panel.NOTHING.player, None]

    # ---- Import
    def import_video(self, upload: str | None, prompt: str, mix: str | None) -> list[Any]:
        """Queue the uploaded video for scoring; reject an invalid header immediately."""
        if not upload or not mix:
            raise ConfigError(general.NOTHING_TO_IMPORT if not upload else general.NO_MIXES)
        check_video(Path(upload))
        with kept_uploads(self.context.workspace, [Path(upload)]) as folder:
            self.context.submit(JobSpec.score_file(folder / Path(upload).name, prompt, mix))
        return [watched_jobs(self.context, KIND), None, gr.update(visible=False)]

    def show_scored(self, event: gr.EventData, *filters: Any) -> list[Any]:
        """Refresh the grid, and open the clip that was scored last."""
        scored = [clip_id for job_id in event.ids for clip_id in clip_ids(self.context.queue.get(job_id))]
        return [self.find(*filters), *(self.open(scored[-1]) if scored else self.close())]


def plots(view: clip_panel.View) -> list[Any]:
    """Return updates for the two plots; empty ones are hidden."""
    return [gr.update(value=plot, visible=plot is not None) for plot in (view.bars, view.timeline)]


def _pairs(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, key) for key, label in labels.items()]
