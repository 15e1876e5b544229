"""The Generate tab: a form, its jobs, and the finished clips with their scores.

The shown clips are those of the newest finished job in the database, so they survive a reload.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from app.components.clips import ClipDetails, ClipGrid, ClipPlayer, EmptyState
from app.components.job_queue import JobWatch
from app.components.keyframe_editor import KeyframeEditor, uploaded
from app.context import AppContext
from app.events import bind, show_warning
from app.forms import picture_fields, saved_settings
from app.forms.adapter_fields import offered_adapters
from app.forms.batch_fields import read_file, shown_for
from app.forms.generation_form import (
    FIELDS,
    SAVED,
    GenerationBatch,
    RequestForm,
    draw_seed,
    named_values,
    settings_of,
)
from app.forms.kept_form import keep_js
from app.middleware.idempotency import once
from app.text import general
from app.text.jobs import ready
from app.views import clip_panel, keyframes, sweeps
from app.views.jobs import LOOKED_AT, clip_ids, is_for_generate, title, watched_jobs
from engine.errors import StoreError
from engine.jobs.spec import Job, JobSpec
from engine.request import GenerationRequest
from engine.runs.adapters import find_adapter, newest_of_runs
from engine.runs.run import Run
from engine.storage.images import import_picture
from engine.storage.library import ClipRecord

KIND, KEYFRAMES = "generate", "keyframes"
KINDS = (KIND, KEYFRAMES)
STAGE = "generate-stage"  # the line of the events that show the clips of a job
PREFETCHED = 16  # other clips of a strip whose files the browser loads ahead
ACTIONS = ("again", "new_seed", "use_settings", "compare_base", "star_clip", "show_in_library")


class GenerateTab:
    """The tab; `form` and `facts` are public for `app.page`, which connects the tabs."""

    def __init__(self, context: AppContext, tab: gr.Tab) -> None:
        self.context = context
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=0, min_width=340, elem_classes=["desk-panel", "request-form", "ctrl-enter"]):
                self.form = RequestForm(context)
            with gr.Column(scale=1, elem_classes="stage-column"):
                self._stage()
        self._wire(tab)

    def _wire_batch(self) -> None:
        """Show the fields of the chosen kind, and what a list or a sweep will make."""
        form, batch = self.form, self.form.batch
        bind(batch.fields["batch"].change, shown_for, batch.fields["batch"], form.by_batch)
        loaded = bind(batch.file.upload, read_file, batch.file, batch.fields["prompts"])
        # Numbers not by `change`: it fires while the form is still being filled, with values that sliders refuse.
        names = ("batch", "columns", "rows", "model", "takes", "num_steps", "num_frames", "width", "height", "guidance")
        typed = [getattr(form.fields[name], "input") for name in names]  # noqa: B009 (Gradio makes it)
        texts = ("prompt", "prompts", "column_values", "row_values")
        typed += [getattr(form.fields[name], "change") for name in texts]  # noqa: B009
        for event in (partial(gr.on, typed), loaded.then):
            bind(event, form.counted, form.inputs, form.count, trigger_mode="always_last")

    def _stage(self) -> None:
        self.jobs = JobWatch("generate-jobs", KINDS, player="generate")
        with gr.Column(visible=False, elem_classes="desk-panel") as self.keyframes_panel:
            self.keyframes = KeyframeEditor("generate-keyframes")
        self.welcome = EmptyState("generate-welcome")
        with gr.Column(visible=False, elem_classes="desk-panel") as self.shown:
            with gr.Row(elem_classes="watch", equal_height=False):
                with gr.Column(scale=6, min_width=320):
                    self.player = ClipPlayer("generate")
                    self.takes = ClipGrid("generate-takes", "takes")
                with gr.Column(scale=5, min_width=320):
                    self.facts = ClipDetails("generate-facts", "alone")
                    self.bars = gr.Plot(show_label=False, container=False, elem_id="generate-bars", elem_classes="plot")
            self.timeline = gr.Plot(show_label=False, container=False, elem_id="generate-timeline", elem_classes="plot")

    @property
    def keyframe_outputs(self) -> list[Any]:
        return [self.keyframes_panel, self.keyframes]

    @property
    def filled(self) -> list[Any]:
        """Outputs of `fill`."""
        return [*self.form.inputs, *self.keyframe_outputs]

    @property
    def outputs(self) -> list[Any]:
        return [self.welcome, self.shown, self.player, self.facts, self.bars, self.timeline, self.takes]

    def _wire(self, tab: gr.Tab) -> None:
        form = self.form
        bind(
            tab.select,
            self.on_tab_selected,
            [form.fields["model"], form.fields["adapters"]],
            [form.fields["model"], form.fields["adapters"], self.jobs, *form.by_model],
        )
        bind(form.generate_button.click, once(self.submit), form.inputs, [self.jobs, form.fields["seed"], form.problem])
        bind(form.dice.click, lambda: str(draw_seed()), None, form.fields["seed"])
        model, mode = form.fields["model"], form.fields["mode"]
        bind(model.input, form.defaults, [model, mode], form.settings)
        bind(model.change, form.usable, model, form.by_model)
        bind(form.reset.click, form.defaults, [model, mode], form.settings)
        bind(mode.change, form.show_mode, [mode, model, form.fields["num_frames"]], form.by_mode)
        self._wire_pictures(model)
        self._wire_batch()
        bind(form.keyframes_first.click, once(self.draw_keyframes), form.inputs, [self.jobs, form.problem])
        bind(self.jobs.job_ended, self.drawn, self.keyframes, self.keyframe_outputs, line=KEYFRAMES)
        bind(self.jobs.job_failed, self.not_drawn, self.keyframes, self.keyframe_outputs, line=KEYFRAMES)
        edited = [self.keyframes, form.fields["preview"]]
        redraw = bind(self.keyframes.redraw, once(self.redraw), edited, self.jobs)
        replace = bind(self.keyframes.replace, once(self.replace), self.keyframes, self.keyframe_outputs)
        complete = bind(self.keyframes.complete, once(self.complete), edited, [self.jobs, *self.keyframe_outputs])
        for refused in (redraw.failure, replace.failure, complete.failure):
            bind(refused, keyframes.usable, self.keyframes, self.keyframes)
        bind(self.keyframes.discard, lambda: self._show_keyframes(None), None, self.keyframe_outputs)
        bind(
            self.welcome.first_clip,
            once(self.first_clip),
            form.inputs,
            [form.fields["prompt"], self.jobs, form.fields["seed"], form.problem],
        )
        bind(form.saved.save_settings, once(self.save_settings), form.inputs, form.saved)
        bind(form.saved.apply_settings, self.apply_settings, None, form.inputs)
        changes = [getattr(field, "change") for field in form.kept.values()]  # noqa: B009 (Gradio makes it)
        gr.on(changes, None, list(form.kept.values()), None, js=keep_js([*form.kept]), api_visibility="private")
        for ended in (self.jobs.job_ended, self.jobs.job_failed):
            bind(ended, self.show_job, self.takes, self.outputs, line=STAGE)
        bind(self.takes.open_clip, self.show_take, self.takes, self.outputs)
        bind(self.takes.compare, self.compare, self.takes, self.outputs)
        bind(self.takes.show_ready, self.show_ready, None, self.outputs, line=STAGE)
        bind(self.facts.again, once(self.again), form.inputs, [self.jobs, form.problem])
        how = [form.fields["mix"], form.fields["preview"]]
        bind(self.facts.new_seed, once(self.new_seed), how, self.jobs)
        bind(self.facts.compare_base, once(self.compare_base), how, self.jobs)
        bind(self.facts.use_settings, self.use_settings, None, self.filled)
        bind(self.facts.star_clip, once(self.star), self.takes, self.outputs)
        bind(self.takes.star_clip, once(self.star), self.takes, self.outputs)

    def _wire_pictures(self, model: Any) -> None:
        """Show the pictures that the model takes, store uploaded ones, and paint their previews."""
        pictures = self.form.pictures
        bind(model.change, picture_fields.offered, [model, *pictures.named], pictures.outputs)
        rows = zip(pictures.named, pictures.uploads, pictures.removers, pictures.previews, strict=True)
        for field, upload, remove, shown in rows:
            bind(upload.upload, pictures.store, upload, field)
            bind(remove.click, lambda: "", None, field)
            bind(field.change, picture_fields.preview, field, shown)

    def on_tab_selected(self, model: str | None, adapters: Any) -> list[Any]:
        """Refresh the models, adapters and jobs when the tab is opened."""
        return [*self.form.offer(model, adapters), watched_jobs(self.context, KINDS), *self.form.usable(model)]

    # ---- Queueing jobs
    def submit(self, *values: Any) -> list[Any]:
        """Queue the form's requests; draw a new seed unless it is locked. Or show the mistake in the form."""
        fields = named_values(values)
        batch, problem = self.form.submit_batch(fields, self._submit_batch)
        kept = batch.requests[0].seed if batch else fields["seed"]
        seed = kept if fields["keep_seed"] or not batch else draw_seed()
        return [watched_jobs(self.context, KINDS), str(seed), problem]

    def first_clip(self, *values: Any) -> list[Any]:
        """Queue the first example prompt with the form's settings."""
        prompt = general.EXAMPLE_PROMPTS[0]
        return [prompt, *self.submit(*({**named_values(values), "prompt": prompt}).values())]

    def save_settings(self, event: gr.EventData, *values: Any) -> dict[str, Any]:
        """Save the form's settings under a name."""
        settings = {name: value for name, value in zip(FIELDS, values, strict=True) if name in SAVED}
        return saved_settings.save(self.context, str(event.title), settings)

    def apply_settings(self, event: gr.EventData) -> list[Any]:
        """Return updates for the form to saved settings."""
        return self.form.apply(saved_settings.values_of(self.context, event.id))

    def use_adapter(self, run_id: str) -> list[Any]:
        """Return updates for the form that select a run's adapter. Raises ConfigError if it has none."""
        model = Run.find(self.context.workspace, run_id).preset().model
        newest = newest_of_runs(self.context.workspace).get(run_id) or find_adapter(
            self.context.workspace, run_id, model
        )
        known = offered_adapters(self.context.workspace, model)
        return settings_of(model, known, {"adapters": [(newest.name, 1)], **newest.card.recommended})

    def again(self, event: gr.EventData, *values: Any) -> list[Any]:
        """Queue the form's current request with the seed of the shown clip."""
        seed = self.context.store.clip(event.id).seed
        _, problem = self.form.submit_batch({**named_values(values), "seed": str(seed), "takes": 1}, self._submit_batch)
        return [watched_jobs(self.context, KINDS), problem]

    def new_seed(self, mix: str, preview: bool, event: gr.EventData) -> dict[str, Any]:
        """Queue the shown clip's request with another seed."""
        request = request_of(self.context.store.clip(event.id))
        self._submit_batch(
            GenerationBatch(requests=(request.with_seed(draw_seed()),), mix=mix or None, preview=preview)
        )
        return watched_jobs(self.context, KINDS)

    def compare_base(self, mix: str, preview: bool, event: gr.EventData) -> dict[str, Any]:
        """Queue the shown clip's request without its adapters; both are compared when it is done."""
        request = request_of(self.context.store.clip(event.id))
        requests = (request.without_adapters(), request)
        self._submit_batch(GenerationBatch(requests=requests, mix=mix or None, preview=preview))
        return watched_jobs(self.context, KINDS)

    def _submit_batch(self, batch: GenerationBatch) -> None:
        self.context.submit(JobSpec.generate(batch.requests, batch.mix, batch.axes, preview=batch.preview))
        if batch.notes:
            show_warning(general.unread(batch.notes))

    # ---- Keyframes
    def draw_keyframes(self, *values: Any) -> list[Any]:
        """Queue the keyframes of the form's request."""

        def draw(batch: GenerationBatch) -> None:
            self.context.submit(JobSpec.keyframes(batch.requests[0], batch.mix, preview=batch.preview))

        _, problem = self.form.submit_batch(named_values(values), draw)
        return [watched_jobs(self.context, KINDS), problem]

    def drawn(self, shown: dict[str, Any] | None, event: gr.EventData) -> list[Any]:
        """Show the keyframes of the last ended job, or keep the shown ones if no job generated any."""
        ended = [self.context.queue.get(job_id) for job_id in event.ids]
        drew = [job for job in ended if job.kind == KEYFRAMES]
        return self._show_keyframes(keyframes.from_job(drew[-1]) if drew else shown)

    def not_drawn(self, shown: dict[str, Any] | None, event: gr.EventData) -> list[Any]:
        """Re-enable the editor if a keyframe job failed or was cancelled."""
        drew = any(self.context.queue.get(job_id).kind == KEYFRAMES for job_id in event.ids)
        return self._show_keyframes(keyframes.usable(shown) if drew else shown)

    def redraw(self, shown: dict[str, Any], preview: bool, event: gr.EventData) -> dict[str, Any]:
        self.context.submit(JobSpec.keyframes(*keyframes.redrawn(shown, event.frame, draw_seed()), preview=preview))
        return watched_jobs(self.context, KINDS)

    def replace(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Replace a keyframe by an uploaded picture, cropped and resized to the clip."""
        request, _, _ = keyframes.read_editor(shown)
        name = import_picture(self.context.workspace, uploaded(event.path), request.width, request.height)
        return self._show_keyframes(keyframes.replaced(shown, event.frame, name))

    def complete(self, shown: dict[str, Any], preview: bool) -> list[Any]:
        """Queue the clip between the keyframes of the editor."""
        request, mix = keyframes.completed(shown)
        self.context.submit(JobSpec.generate([request], mix, preview=preview))
        return [watched_jobs(self.context, KINDS), *self._show_keyframes(None)]

    def resume_keyframes(self) -> list[Any]:
        """Show the latest keyframes unless a clip was finished after them."""
        done = self.context.queue.list("done", KINDS, limit=1)
        return self._show_keyframes(keyframes.from_job(done[0]) if done and done[0].kind == KEYFRAMES else None)

    def _show_keyframes(self, shown: dict[str, Any] | None) -> list[Any]:
        return [gr.update(visible=bool(shown and shown["cards"])), shown]

    # ---- Showing clips
    def resume(self) -> list[Any]:
        """Return the initial state: active jobs, and the clips of the last finished job."""
        ended = self.context.queue.list("done", KIND, limit=LOOKED_AT)
        done = next((job for job in ended if is_for_generate(job)), None)
        return [watched_jobs(self.context, KINDS), *(self._of_job(done) if done else self._show({}, []))]

    def open_sweep(self, event: gr.EventData) -> list[Any]:
        """Show the grid of a sweep or a list by the id of its job."""
        return self._of_job(self.context.queue.get(event.id))

    def show_job(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Show the clips of the jobs that just ended; those of an unfinished sweep too.

        Clips that were opened by hand since such a job was queued stay; a button under them shows the new ones.
        """
        ended = self._ended(event.ids)
        if not ended:
            return self._same(shown) if shown["cards"] else self.resume()[1:]
        opened_at = shown.get("opened_at", 0)
        if any(opened_at > job.created_at.timestamp() for job in ended):
            waiting = [*shown["ready"]["ids"], *event.ids] if shown.get("ready") else event.ids
            sentence = ready([title(job) for job in self._ended(waiting)])
            return self._same({**shown, "ready": {"ids": waiting, "sentence": sentence}})
        return self._of_jobs(ended)

    def show_ready(self, event: gr.EventData) -> list[Any]:
        """Show the clips of jobs that ended while another clip was looked at."""
        return self._of_jobs(self._ended(event.ids))

    def _ended(self, ids: Sequence[str]) -> list[Job]:
        jobs = [self.context.queue.get(job_id) for job_id in ids]
        return [job for job in jobs if is_for_generate(job) and (clip_ids(job) or job.config.get("axes"))]

    def _of_jobs(self, jobs: Sequence[Job]) -> list[Any]:
        if len(jobs) == 1:
            return self._of_job(jobs[0])
        return self._show({}, [clip_id for job in jobs for clip_id in clip_ids(job)])

    def _same(self, shown: dict[str, Any]) -> list[Any]:
        """Show the same clips again."""
        return self._show(shown, ids_of(shown), shown["current"], shown.get("compared", ()))

    def _of_job(self, job: Job) -> list[Any]:
        if axes := job.config.get("axes"):
            return self._show({"axes": sweeps.titled(axes), "job": job.id}, sweeps.requested_ids(job))
        compared = sweeps.requested_ids(job) if sweeps.is_comparison(job) else ()  # the base model first
        return self._show({}, clip_ids(job), compared=compared)

    def show_take(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Show one clip, alone if it is none of the strip."""
        ids = ids_of(shown) if event.id in ids_of(shown) else [self.context.store.clip(event.id).id]
        return self._show({**shown, "opened_at": time.time()}, ids, event.id)

    def compare(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Show a few clips synchronised."""
        return self._show({**shown, "opened_at": time.time()}, ids_of(shown), compared=event.ids)

    def use_settings(self, event: gr.EventData) -> list[Any]:
        return self.fill(self.context.store.clip(event.id))

    def fill(self, record: ClipRecord) -> list[Any]:
        """Return updates for the form and the keyframe editor that show a clip's request."""
        request = request_of(record)
        return [*self.form.fill(request), *self._show_keyframes(keyframes.from_request(request, record.mix))]

    def star(self, shown: dict[str, Any], event: gr.EventData) -> list[Any]:
        """Star or unstar clips; the shown clip stays."""
        self.context.store.star(event.ids, event.starred)
        return self._show(shown, ids_of(shown) or event.ids, shown["current"] or event.ids[0])

    def _show(
        self, batch: dict[str, Any], ids: Sequence[str], current: str | None = None, compared: Sequence[str] = ()
    ) -> list[Any]:
        """Show the clip `current`, or the best one, or those `compared` in their order, above all of `ids`.

        A `batch` with "axes" and "job" shows all as the grid of a list or a sweep. Its "opened_at" and "ready" stay.
        """
        found = clip_panel.in_order(self.context.store, ids)
        records = clip_panel.best_first(found)
        if not records:
            return self._outputs(clip_panel.NOTHING, clip_panel.takes([], None))
        chosen = clip_panel.in_order(self.context.store, compared)
        shown = next((record for record in records if record.id == current), records[0])
        takes = {**clip_panel.takes(records, None if chosen else shown.id), "ids": [*ids]}
        takes |= {name: batch[name] for name in ("opened_at", "ready") if name in batch}
        takes |= {"compared": [*compared]} if chosen else {}
        if axes := batch.get("axes"):
            takes |= {"axes": axes, "job": batch["job"], "cards": sweeps.cards(axes, ids, found)}
        if chosen:
            return self._outputs(clip_panel.several(self.context.store, chosen), takes)
        rest = [record for record in records if record is not shown]
        return self._outputs(clip_panel.one(self.context.store, shown, ACTIONS, rest[:PREFETCHED]), takes)

    def _empty_state(self, there: bool) -> str:
        """Return the value of the `EmptyState`."""
        if there:
            return ""
        return "empty" if self.context.store.count() or self.context.queue.list(limit=1) else "new"

    def _outputs(self, view: clip_panel.View, takes: dict[str, Any]) -> list[Any]:
        there = bool(view.player["clips"])
        plots = [gr.update(value=plot, visible=plot is not None) for plot in (view.bars, view.timeline)]
        return [self._empty_state(there), gr.update(visible=there), view.player, view.facts, *plots, takes]


def ids_of(shown: Mapping[str, Any]) -> list[str]:
    """Return the ids of the clips of a strip or a grid, in its order."""
    return shown.get("ids") or [card["id"] for card in shown["cards"]]


def request_of(record: ClipRecord) -> GenerationRequest:
    """Return the request of a clip. Raises StoreError for an imported clip."""
    if record.request is None:
        raise StoreError(f"Clip {record.id} was imported, so it has no generation settings.")
    return GenerationRequest(**record.request)
