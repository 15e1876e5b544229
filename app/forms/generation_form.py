"""The Generate form: its components, the requests that it makes, and the display of a request.

Ranges and defaults come from the model's preset and its family's spec.
"""

import html
import json
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.components.clips import AdapterRows, PromptHistory, SavedSettings
from app.context import AppContext
from app.forms import mode_fields
from app.forms.adapter_fields import OfferedAdapter, offered_adapters, scales_in
from app.forms.adapter_fields import shown as shown_adapters
from app.forms.batch_fields import BATCH_FIELDS, LIST, ONE, PROMPTS, SWEEP, BatchFields, read_batch
from app.forms.field_help import FieldHelp
from app.forms.field_problem import FieldProblem
from app.forms.kept_form import read_kept
from app.forms.mode_fields import MODE_FIELDS, ModeFields, build_modes, read_mode, shown_mode
from app.forms.picture_fields import PictureFields, read_pictures, shown_pictures
from app.forms.preset_choices import default_choice, mix_choices, model_choices, why_unusable
from app.text import batches, general, modes
from app.text import models as text_models
from app.views.sweeps import forecast
from engine.config.presets import load_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, DailiesError
from engine.families.registry import family_spec
from engine.generation.clip_plan import PICTURES
from engine.generation.prompt_length import truncation_warnings, unknown_words
from engine.generation.validation import check_request
from engine.request import SEED_LIMIT, GenerationRequest, SweepAxis, adapter_fields
from engine.runs.checkpoints import list_checkpoints, publish_named

DRAWN_SEED_LIMIT = 10**9  # keeps random seeds short enough to read aloud
MAX_VARIATIONS = 16
OVERSIZED = 4  # times the area of the preset's clip
CHECKED = 20  # requests of a batch whose prompts are compared with the model's limit
SETTINGS = ("model", "adapters", "num_frames", "num_steps", "guidance", "width", "height", "fps")
ASKED = ("prompt", "negative_prompt", *SETTINGS)  # fields of a request in the form, without the seed
SAVED = ("negative_prompt", *SETTINGS, "takes", "mix", "preview", *MODE_FIELDS)  # fields of saved settings
FIELDS = (*ASKED, "seed", "keep_seed", "takes", "mix", "preview", *MODE_FIELDS, *PICTURES, *BATCH_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationBatch:
    """Requests, the mix that scores their clips (None: not scored), and the axes of a list or a sweep.

    With `preview` the page shows the clips while they are denoised.
    """

    requests: tuple[GenerationRequest, ...]
    mix: str | None
    axes: tuple[SweepAxis, ...] = ()
    preview: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings on parts of the prompt that the model ignores."""
        return tuple(
            dict.fromkeys(note for request in self.requests[:CHECKED] for note in truncation_warnings(request))
        )


def draw_seed() -> int:
    return secrets.randbelow(DRAWN_SEED_LIMIT)


def read_seed(typed: str) -> int:
    """Read a seed; an empty field draws one. Raises ConfigError unless it is a whole number in range."""
    cleaned = (typed or "").strip()
    if not cleaned:
        return draw_seed()
    if not (cleaned.isascii() and cleaned.isdigit() and int(cleaned[:20]) < SEED_LIMIT):
        raise ConfigError(
            f"The seed must be a whole number from 0 to {SEED_LIMIT - 1}, but got '{cleaned[:40]}': draw one, or leave "
            "the field empty.",
            field="seed",
        )
    return int(cleaned)


def read_generation(fields: Mapping[str, Any], adapters: Collection[str] = ()) -> GenerationBatch:
    """Read a filled form, by field name; `adapters` are those of its model.

    Raises ConfigError in one sentence for the first invalid field.
    """
    takes = fields["takes"]
    if takes is None or not 1 <= takes <= MAX_VARIATIONS:
        raise ConfigError(
            f"The number of variations must be from 1 to {MAX_VARIATIONS}, but got {takes}.", field="takes"
        )
    request_fields = {name: fields[name] for name in ASKED if fields[name] is not None}
    request_fields |= adapter_fields(scales_in(fields["adapters"]))
    given = {**read_mode(fields), **read_pictures(fields)}
    request_fields |= {**given, "seed": read_seed(fields["seed"])}
    requests, axes = read_batch(fields, request_fields, int(takes))
    for request in {request.with_seed(0): request for request in requests}.values():
        check_request(request, adapters)
    return GenerationBatch(requests=tuple(requests), mix=fields["mix"], axes=axes, preview=bool(fields["preview"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Ranges of a model's sliders and number fields, up to the model's longest clip."""

    first_frames: int
    last_frames: int
    frame_step: int
    size_step: int

    def frames(self, mode: str | None = None) -> dict[str, int]:
        """Return the properties of the slider of frames; windows allow longer clips than the model does."""
        longest = mode_fields.longest(mode, self.last_frames)
        return {"minimum": self.first_frames, "maximum": longest, "step": self.frame_step}

    @classmethod
    def of(cls, preset: ModelPreset) -> "Ranges":
        spec = family_spec(preset.family)
        size_step = preset.size_multiple or spec.size_multiple
        first = spec.nearest_frames(preset.min_frames)
        longest = first + (preset.max_frames - first) // spec.frame_stride * spec.frame_stride
        return cls(first_frames=first, last_frames=longest, frame_step=spec.frame_stride, size_step=size_step)


def settings_of(
    model: str, adapters: Mapping[str, OfferedAdapter], values: Mapping[str, Any] | None = None, mode: str | None = None
) -> list[Any]:
    """Return updates for the components of `SETTINGS`: ranges, adapters and defaults of a model in a mode.

    `values` override the defaults; their "adapters" are names and strengths.
    """
    preset: ModelPreset = load_preset("models", model)
    ranges = Ranges.of(preset)
    shown = {**preset.defaults(), **(values or {})}
    more: dict[str, dict[str, Any]] = {
        "model": {"info": why_unusable(preset) or preset.recommended},
        "num_frames": ranges.frames(mode),
    }
    more |= {side: {"step": ranges.size_step} for side in ("width", "height")}
    updates = {name: gr.update(value=shown[name], **more.get(name, {})) for name in SETTINGS if name != "adapters"}
    updates["adapters"] = shown_adapters(adapters, shown.get("adapters", ()))
    return [updates[name] for name in SETTINGS]


class RequestForm:
    """Components of the form, created in the current layout block. `inputs` is in the order of `FIELDS`."""

    def __init__(self, context: AppContext) -> None:
        self.context, self.workspace = context, context.workspace
        models = model_choices()
        model = default_choice(models, GenerationRequest.model_fields["model"].default)
        self.fields: dict[str, Any] = {}
        self.model = model
        self.batch = BatchFields()
        self.batch.build_choice()
        self._what(models, model)
        self.pictures = PictureFields(self.workspace)
        self.fields |= self.pictures.fields
        self._how_many()
        self.modes: ModeFields = build_modes()
        self.fields |= self.modes.fields
        with gr.Accordion(general.MORE, open=False, elem_classes="more"):
            self._how(mix_choices(), model or "")
        self.fields |= self.batch.fields
        with gr.Column(elem_classes="form-foot"):
            self.problem = FieldProblem("generate-problem", self.fields)
            self.count = gr.HTML("", visible=False, elem_id="batch-count", padding=False)
            self.generate_button = gr.Button(general.SUBMIT, variant="primary", size="lg", elem_id="generate")
            self.keyframes_first = gr.Button(modes.KEYFRAMES_FIRST, visible=False, elem_id="keyframes-first")
        FieldHelp(self.fields)
        gr.HTML(f'<p class="hint">{general.NO_MODELS}</p>', visible=not models)

    @property
    def inputs(self) -> list[Any]:
        return [self.fields[name] for name in FIELDS]

    @property
    def settings(self) -> list[Any]:
        return [self.fields[name] for name in SETTINGS]

    @property
    def kept(self) -> dict[str, Any]:
        """Components whose values the browser keeps, by name: all but the pictures."""
        return {name: field for name, field in self.fields.items() if name in FIELDS and name not in PICTURES}

    def start(self, saved: str = "") -> list[Any]:
        """Return initial updates for `inputs`.

        They are what the browser `saved`, else a model's defaults and a random seed.
        """
        values = read_kept(saved, self.kept)
        model = values.get("model", self.model)
        updates: dict[str, Any] = {name: gr.update(value=value) for name, value in values.items()}
        if model:
            known = offered_adapters(self.workspace, model)
            asked = {name: values[name] for name in SETTINGS if values.get(name) is not None}
            asked["adapters"] = scales_in(values.get("adapters"))
            updates |= zip(SETTINGS, settings_of(model, known, asked, values.get("mode")), strict=True)
        if not (values.get("keep_seed") and values.get("seed")):
            updates["seed"] = gr.update(value=str(draw_seed()))
        return [updates.get(name, gr.skip()) for name in FIELDS]

    def apply(self, values: Mapping[str, Any]) -> list[Any]:
        """Return updates for `inputs` to saved settings; prompt, seed and batch stay."""
        updates = dict(zip(FIELDS, self.start(json.dumps(values)), strict=True))
        return [updates[name] if name in SAVED else gr.skip() for name in FIELDS]

    def defaults(self, model: str, mode: str | None = None) -> list[Any]:
        """Return updates for `settings` after a model was chosen."""
        return settings_of(model, offered_adapters(self.workspace, model), mode=mode)

    def offer(self, model: str | None, adapters: Any) -> list[Any]:
        """Return updates for the fields of the model and the adapters: what there is to choose now."""
        if not model:
            return [gr.update(choices=model_choices()), adapters]
        why = why_unusable(preset := load_preset("models", model))
        shown = gr.update(choices=model_choices(), info=why or preset.recommended)
        return [shown, shown_adapters(offered_adapters(self.workspace, model), scales_in(adapters))]

    @property
    def by_model(self) -> list[Any]:
        """Outputs of `usable`."""
        return [self.generate_button, self.keyframes_first]

    @property
    def by_batch(self) -> list[Any]:
        """Outputs of `shown_for`."""
        return [self.prompt_group, self.batch.listed, self.batch.swept, self.fields["takes"]]

    @property
    def by_mode(self) -> list[Any]:
        """Components that depend on the mode."""
        return [self.fields["num_frames"], self.keyframes_first, *self.modes.grouped]

    def show_mode(self, mode: str, model: str, num_frames: int) -> list[Any]:
        """Return updates for `by_mode`; a number of frames above the mode's maximum becomes the maximum."""
        frames: dict[str, Any] = Ranges.of(load_preset("models", model)).frames(mode)
        if num_frames > frames["maximum"]:
            frames["value"] = frames["maximum"]
        first = gr.update(visible=mode == mode_fields.KEYFRAMES)
        return [gr.update(**frames), first, *self.modes.visible(mode)]

    def fill(self, request: GenerationRequest) -> list[Any]:
        """Return updates for `inputs` that show a request, with its seed locked."""
        values = request.model_dump(include={*ASKED, *PICTURES})
        known = offered_adapters(self.workspace, request.model)
        asked = {name: value for name, value in values.items() if name not in PICTURES}
        asked["adapters"] = list(request.scales.items())
        settings = settings_of(request.model, known, asked, request.mode)
        seed_to_preview = [str(request.seed), True, gr.skip(), gr.skip(), gr.skip()]
        batch = [ONE, *(gr.skip() for _ in BATCH_FIELDS[1:])]
        how = [*seed_to_preview, *shown_mode(request), *shown_pictures(values), *batch]
        return [values["prompt"], values["negative_prompt"], *settings, *how]

    def read(self, fields: Mapping[str, Any]) -> GenerationBatch:
        """Read the filled form. Raises ConfigError in one sentence."""
        model = fields["model"] or ""
        if fields["batch"] == SWEEP and "checkpoint" in (fields["columns"], fields["rows"]):
            names = {checkpoint.name for checkpoint in list_checkpoints(self.workspace, model)}
            batch = read_generation(fields, {*names, *offered_adapters(self.workspace, model)})
            publish_named(self.workspace, model, {name for request in batch.requests for name in request.scales})
            return batch
        return read_generation(fields, offered_adapters(self.workspace, model))

    def submit_batch(
        self, fields: Mapping[str, Any], submit: Callable[[GenerationBatch], None]
    ) -> tuple[GenerationBatch | None, dict[str, Any] | None]:
        """Read the filled form and `submit` its batch; return the batch, or None and the value of `problem`."""
        try:
            submit(batch := self.read(fields))
        except ConfigError as error:
            if fields["batch"] == LIST and error.field == "prompt":
                error.field = PROMPTS
            return None, self.problem.of(error)
        return batch, None

    def counted(self, *values: Any) -> dict[str, Any]:
        """Return an update for `count`: clips, time and warnings.

        A mistake in a list or a sweep is said here too; one prompt may still be being typed.
        """
        fields = named_values(values)
        is_one = fields["batch"] in (ONE, "")
        try:
            batch = self.read(fields)
            sentences = [self._forecast(batch, is_one=is_one), _oversized(batch), _unknown(batch)]
        except DailiesError as error:
            return gr.update(visible=False) if is_one else _line(str(error), " is-problem")
        return _line(" ".join(said)) if (said := [*filter(None, sentences)]) else gr.update(visible=False)

    def _forecast(self, batch: GenerationBatch, *, is_one: bool) -> str:
        """Return the clips of a batch and their time; "" for one prompt whose time is unknown."""
        seconds = forecast(self.context, batch.requests)
        shape = batches.shape([(axis.name, len(axis.values)) for axis in batch.axes])
        return "" if is_one and not seconds else batches.forecast(len(batch.requests), shape, seconds)

    def usable(self, model: str | None) -> list[Any]:
        """Return updates for the two buttons: without a model that this machine can use, they are off."""
        is_usable = model is not None and not why_unusable(load_preset("models", model))
        return [gr.update(interactive=is_usable)] * 2

    def _what(self, models: list[tuple[str, str]], model: str | None) -> None:
        with gr.Column(elem_classes="mode-settings") as self.prompt_group:
            self.fields["prompt"] = gr.Textbox(
                label=general.PROMPT, placeholder=general.PROMPT_HINT, lines=3, max_lines=8, elem_id="prompt"
            )
            PromptHistory("prompt-history", self.context)
        self.batch.build()
        self.fields["model"] = gr.Dropdown(models, value=model, label=general.MODEL, elem_id="model")
        gr.HTML(f'<p class="hint-left">{text_models.LINK}</p>', elem_classes="models-link", padding=False)
        self.fields["adapters"] = AdapterRows("adapters")

    def _how_many(self) -> None:
        with gr.Row(elem_classes=["tight", "pair"]):
            self.fields["num_frames"] = gr.Slider(
                1, 129, step=8, buttons=[], label=general.FRAMES, elem_id="frames", min_width=120
            )
            self.fields["takes"] = gr.Slider(
                1, MAX_VARIATIONS, value=1, step=1, buttons=[], label=general.VARIATIONS, elem_id="takes", min_width=120
            )
        with gr.Row(elem_classes="tight seed"):
            self.fields["seed"] = gr.Textbox(label=general.SEED, max_lines=1, elem_id="seed", min_width=120)
            self.dice = gr.Button(general.DICE, size="md", elem_id="dice", scale=0, min_width=72)
            self.fields["keep_seed"] = gr.Checkbox(label=general.KEEP_SEED, elem_id="keep-seed", min_width=60, scale=0)

    def _how(self, mixes: list[tuple[str, str]], model: str) -> None:
        self.fields["negative_prompt"] = gr.Textbox(
            label=general.NEGATIVE_PROMPT, placeholder=general.NEGATIVE_HINT, lines=2, elem_id="negative-prompt"
        )
        self.fields["mix"] = gr.Dropdown(mixes, value=default_choice(mixes, model), label=general.MIX, elem_id="mix")
        self.fields["num_steps"] = gr.Slider(1, 100, step=1, buttons=[], label=general.STEPS, elem_id="steps")
        self.fields["guidance"] = gr.Slider(0, 15, step=0.1, buttons=[], label=general.GUIDANCE, elem_id="guidance")
        with gr.Row(elem_classes="tight"):
            self.fields["width"] = gr.Number(label=general.WIDTH, precision=0, min_width=90, elem_id="width")
            self.fields["height"] = gr.Number(label=general.HEIGHT, precision=0, min_width=90, elem_id="height")
            self.fields["fps"] = gr.Number(label=general.FPS, min_width=90, elem_id="fps")
        self.fields["preview"] = gr.Checkbox(True, label=general.PREVIEW, elem_id="preview")
        self.reset = gr.Button(general.RESET, size="sm", elem_classes="quiet")
        self.saved = SavedSettings("saved-settings", self.context)


def _oversized(batch: GenerationBatch) -> str:
    """Return a warning if the clips are much larger than those of the model's preset, else ""."""
    request, preset = batch.requests[0], load_preset("models", batch.requests[0].model)
    times = request.width * request.height / (preset.width * preset.height)
    return batches.oversized(request.width, request.height, times) if times >= OVERSIZED else ""


def _unknown(batch: GenerationBatch) -> str:
    """Return a warning if the model does not know words of the prompts, else ""."""
    prompts = dict.fromkeys(request.prompt for request in batch.requests)
    words = unknown_words(batch.requests[0].model, "\n".join(prompts))
    return batches.unknown(words) if words else ""


def _line(sentence: str, kind: str = "") -> dict[str, Any]:
    """Return an update that shows a sentence above the button."""
    return gr.update(value=f'<p class="hint-left{kind}" role="status">{html.escape(sentence)}</p>', visible=True)


def named_values(values: Sequence[Any]) -> dict[str, Any]:
    """Return the values of `RequestForm.inputs` by name."""
    named = dict(zip(FIELDS, values, strict=True))
    return {**named, "mix": named["mix"] or None}
