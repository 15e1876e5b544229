"""The Generate tab: a form, the jobs that it files, and the finished takes with their scores.

Which takes are shown is read from the database (the newest finished job), so a reload comes back to them.
"""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.components.clip_details import ClipDetails
from app.components.clip_grid import ClipGrid
from app.components.clip_player import ClipPlayer
from app.components.empty_state import EmptyState
from app.components.job_list import JobList
from app.components.keyframe_editor import KeyframeEditor, uploaded
from app.context import AppContext
from app.events import bind, show_warning
from app.forms.generation_form import GenerationOrder, RequestForm, adapter_names, draw_seed, named_values, settings_of
from app.middleware.idempotency import once
from app.text import general
from app.views import clip_panel, keyframes
from app.views.jobs import clip_ids, strip
from engine.errors import StoreError
from engine.jobs.spec import JobSpec
from engine.request import GenerationRequest
from engine.runs.adapters import find_adapter, newest_of_runs
from engine.runs.run import Run
from engine.storage.images import import_picture
from engine.storage.library import ClipRecord

KIND, KEYFRAMES = "generate", "keyframes"
KINDS = (KIND, KEYFRAMES)
ACTIONS = ("again", "new_seed", "use_settings", "star_clip", "show_in_library")


class GenerateTab:
    """`form` and `facts` are there for the shell, which connects tabs with each other."""

    def __init__(self, desk: AppContext, tab: gr.Tab) -> None:
        self.desk = desk
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=0, min_width=340, elem_classes=["desk-panel", "request-form", "ctrl-enter"]):
                self.form = RequestForm(desk.workspace)
            with gr.Column(scale=1, elem_classes="stage-column"):
                self._stage()
        self._wire(tab)

    def _stage(self) -> None:
        self.jobs = JobList("generate-jobs", self.desk, KINDS)
        with gr.Column(visible=False, elem_classes="desk-panel") as self.keyframes_panel:
            self.keyframes = KeyframeEditor("generate-keyframes")
        self.welcome = EmptyState("generate-welcome")
        with gr.Column(visible=False, elem_classes="desk-panel") as self.shown:
            with gr.Row(elem_classes="watch", equal_height=False):
                with gr.Column(scale=6, min_width=320):
                    self.player = ClipPlayer("generate")
                with gr.Column(scale=5, min_width=320):
                    self.facts = ClipDetails("generate-facts", "alone")
                    self.bars = gr.Plot(show_label=False, container=False, elem_id="generate-bars", elem_classes="plot")
                    self.takes = ClipGrid("generate-takes", "takes")
            self.timeline = gr.Plot(show_label=False, container=False, elem_id="generate-timeline", elem_classes="plot")

    @property
    def keyframe_outputs(self) -> list[Any]:
        return [self.keyframes_panel, self.keyframes]

    @property
    def filled(self) -> list[Any]:
        """What `fill` gives updates for."""
        return [*self.form.inputs, *self.keyframe_outputs]

    @property
    def outputs(self) -> list[Any]:
        return [self.welcome, self.shown, self.player, self.facts, self.bars, self.timeline, self.takes]

    def _wire(self, tab: gr.Tab) -> None:
        form = self.form
        bind(
            tab.select, self.arrive, [form.fields["model"], form.fields["adapter"]], [form.fields["adapter"], self.jobs]
        )
        bind(form.submit.click, once(self.submit), form.inputs, [self.jobs, form.fields["seed"]])
        bind(form.dice.click, lambda: str(draw_seed()), None, form.fields["seed"])
        model, mode = form.fields["model"], form.fields["mode"]
        bind(model.input, form.defaults, [model, mode], form.settings)
        bind(form.reset.click, form.defaults, [model, mode], form.settings)
        bind(mode.change, form.show_mode, [mode, model, form.fields["num_frames"]], form.by_mode)
        bind(form.keyframes_first.click, once(self.draw_keyframes), form.inputs, self.jobs)
        bind(self.jobs.job_ended, self.drawn, self.keyframes, self.keyframe_outputs, line=KEYFRAMES)
        bind(self.jobs.job_failed, self.not_drawn, self.keyframes, self.keyframe_outputs, line=KEYFRAMES)
        redraw = bind(self.keyframes.redraw, once(self.redraw), self.keyframes, self.jobs)
        replace = bind(self.keyframes.replace, once(self.replace), self.keyframes, self.keyframe_outputs)
        complete = bind(
            self.keyframes.complete, once(self.complete), self.keyframes, [self.jobs, *self.keyframe_outputs]
        )
        for refused in (redraw.failure, replace.failure, complete.failure):
            bind(refused, keyframes.usable, self.keyframes, self.keyframes)
        bind(self.keyframes.discard, lambda: self._strip(None), None, self.keyframe_outputs)
        bind(
            self.welcome.first_clip,
            once(self.first_clip),
            form.inputs,
            [form.fields["prompt"], self.jobs, form.fields["seed"]],
        )
        for button, words in zip(form.examples, general.EXAMPLE_PROMPTS, strict=True):
            bind(button.click, lambda words=words: words, None, form.fields["prompt"])
        bind(self.jobs.job_ended, self.show_job, None, self.outputs)
        bind(self.takes.open_clip, self.show_take, self.takes, self.outputs)
        bind(self.takes.compare, self.compare, self.takes, self.outputs)
        bind(self.facts.again, once(self.again), form.inputs, self.jobs)
        bind(self.facts.new_seed, once(self.new_seed), form.fields["mix"], self.jobs)
        bind(self.facts.use_settings, self.use_settings, None, self.filled)
        bind(self.facts.star_clip, once(self.star), self.takes, self.outputs)
        bind(self.takes.star_clip, once(self.star), self.takes, self.outputs)

    def arrive(self, model: str | None, adapter: str | None) -> list[Any]:
        """The tab was opened: adapters that were trained since, and jobs that were filed elsewhere."""
        return [self.form.offer(model, adapter), strip(self.desk, KINDS)]

    # ---- Filing jobs
    def submit(self, *values: Any) -> tuple[dict[str, Any], Any]:
        """File what the form says; the seed moves on unless it is kept."""
        fields = named_values(values)
        order = self.form.order(fields)
        self._file(order)
        seed = order.requests[0].seed if fields["keep_seed"] else draw_seed()
        return strip(self.desk, KINDS), str(seed)

    def first_clip(self, *values: Any) -> list[Any]:
        """An example of the form's, as it stands otherwise."""
        prompt = general.EXAMPLE_PROMPTS[0]
        return [prompt, *self.submit(*({**named_values(values), "prompt": prompt}).values())]

    def use_adapter(self, run_id: str) -> list[Any]:
        """Updates for the form's settings: the adapter that a run made. Raises ConfigError where it made none."""
        model = Run.find(self.desk.workspace, run_id).preset().model
        newest = newest_of_runs(self.desk.workspace).get(run_id) or find_adapter(self.desk.workspace, run_id, model)
        names = adapter_names(self.desk.workspace, model)
        return settings_of(model, names, {"adapter": newest.name, **newest.card.recommended})

    def again(self, event: gr.EventData, *values: Any) -> dict[str, Any]:
        """What the form says now, with the seed of the take that is shown."""
        fields = named_values(values)
        seed = self.desk.store.clip(event.id).seed
        self._file(self.form.order({**fields, "seed": str(seed), "takes": 1}))
        return strip(self.desk, KINDS)

    def new_seed(self, mix: str, event: gr.EventData) -> dict[str, Any]:
        """The take's own request with another seed."""
        request = request_of(self.desk.store.clip(event.id))
        self._file(GenerationOrder(requests=(request.with_seed(draw_seed()),), mix=mix or None))
        return strip(self.desk, KINDS)

    def _file(self, order: GenerationOrder) -> None:
        self.desk.file(JobSpec.generate(order.requests, order.mix))
        if order.notes:
            show_warning(general.unread(order.notes))

    # ---- Keyframes, before the rest is made
    def draw_keyframes(self, *values: Any) -> dict[str, Any]:
        """File the keyframes of what the form says."""
        order = self.form.order(named_values(values))
        self.desk.file(JobSpec.keyframes(order.requests[0], order.mix))
        return strip(self.desk, KINDS)

    def drawn(self, shown: dict[str, Any] | None, event: gr.EventData) -> list[Any]:
        """The strip once jobs ended: what the last of them drew, or what it showed."""
        ended = [self.desk.queue.get(job_id) for job_id in event.ids]
        drew = [job for job in ended if job.kind == KEYFRAMES]
        return self._strip(keyframes.strip_of(drew[-1]) if drew else shown)

    def not_drawn(self, shown: dict[str, Any] | None, event: gr.EventData) -> list[Any]:
        """The strip once jobs failed or were cancelled: usable again where one of them would have drawn."""
        drew = any(self.desk.queue.get(job_id).kind == KEYFRAMES for job_id in event.ids)
        return self._strip(keyframes.usable(shown) if drew else shown)

    def redraw(self, shown: dict[str, Any], event: gr.EventData) -> dict[str, Any]:
        self.desk.file(JobSpec.keyframes(*keyframes.redrawn(shown, event.frame, draw_seed())))
        return strip(self.desk, KINDS)

    def replace(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Another picture for a frame, cut and resized to the clip."""
        request, _, _ = keyframes.read_strip(shown)
        name = import_picture(self.desk.workspace, uploaded(event.path), request.width, request.height)
        return self._strip(keyframes.replaced(shown, event.frame, name))

    def complete(self, shown: dict[str, Any]) -> list[Any]:
        """File the clip between the keyframes of the strip."""
        request, mix = keyframes.completed(shown)
        self.desk.file(JobSpec.generate([request], mix))
        return [strip(self.desk, KINDS), *self._strip(None)]

    def resume_keyframes(self) -> list[Any]:
        """Keyframes that were drawn last, unless a clip was finished since."""
        done = self.desk.queue.list("done", KINDS, limit=1)
        return self._strip(keyframes.strip_of(done[0]) if done and done[0].kind == KEYFRAMES else None)

    def _strip(self, shown: dict[str, Any] | None) -> list[Any]:
        return [gr.update(visible=bool(shown and shown["cards"])), shown]

    # ---- Showing takes
    def resume(self) -> list[Any]:
        """What the page shows when it is opened: the jobs under way, and the takes of the last one that ended."""
        done = self.desk.queue.list("done", KIND, limit=1)
        return [strip(self.desk, KINDS), *self._show(clip_ids(done[0]) if done else [])]

    def show_job(self, event: gr.EventData) -> list[Any]:
        """The takes of the jobs that just ended."""
        ended = [self.desk.queue.get(job_id) for job_id in event.ids]
        made = [clip_id for job in ended for clip_id in clip_ids(job)]
        return self._show(made) if made else self.resume()[1:]

    def show_take(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        return self._show([card["id"] for card in shown["cards"]], event.id)

    def compare(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """A few takes in step."""
        records = clip_panel.in_order(self.desk.store, [card["id"] for card in shown["cards"]])
        chosen = [record for record in records if record.id in event.ids]
        return self._outputs(clip_panel.several(self.desk.store, chosen), clip_panel.takes(records, None))

    def use_settings(self, event: gr.EventData) -> list[Any]:
        return self.fill(self.desk.store.clip(event.id))

    def fill(self, record: ClipRecord) -> list[Any]:
        """Updates for the form, and for the strip of keyframes, that show what made a clip."""
        request = request_of(record)
        return [*self.form.fill(request), *self._strip(keyframes.given_in(request, record.mix))]

    def star(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Star a take, or take its star away; the take that is shown stays."""
        self.desk.store.star([event.id], event.starred)
        ids = [card["id"] for card in shown["cards"]] or [event.id]
        return self._show(ids, shown["current"] or event.id)

    def _show(self, ids: Sequence[str], current: str | None = None) -> list[Any]:
        records = clip_panel.in_order(self.desk.store, ids)
        if not records:
            return self._outputs(clip_panel.NOTHING, clip_panel.takes([], None))
        shown = next((record for record in records if record.id == current), records[0])
        rest = [record for record in records if record is not shown]
        return self._outputs(clip_panel.one(self.desk.store, shown, ACTIONS, rest), clip_panel.takes(records, shown.id))

    def _said(self, there: bool) -> str:
        """What the stage says besides takes, see `EmptyState`."""
        if there:
            return ""
        return "empty" if self.desk.store.count() or self.desk.queue.list(limit=1) else "new"

    def _outputs(self, view: clip_panel.View, takes: dict[str, Any]) -> list[Any]:
        there = bool(view.player["clips"])
        plots = [gr.update(value=plot, visible=plot is not None) for plot in (view.bars, view.timeline)]
        return [self._said(there), gr.update(visible=there), view.player, view.facts, *plots, takes]


def request_of(record: ClipRecord) -> GenerationRequest:
    """The request that made a clip. Raises StoreError for an imported one."""
    if record.request is None:
        raise StoreError(f"Clip {record.id} was imported: there are no settings that made it.")
    return GenerationRequest(**record.request)
