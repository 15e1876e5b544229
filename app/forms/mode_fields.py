"""How a clip is made, in the Generate form: in one piece, from keyframes or in windows, each with its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.text import modes as words
from engine.request import GenerationRequest, KeyframePlan, WindowPlan

DIRECT, KEYFRAMES, WINDOWS = "direct", "keyframes", "windows"
WINDOWED_LENGTHS = 4  # a windowed clip may be so many times as long as the model's longest; the CLI takes any length
# Mode -> field of the form -> field of its plan in a request.
PLANS: Mapping[str, Mapping[str, str]] = {
    KEYFRAMES: {
        "interval": "interval",
        "keyframe_source": "source",
        "drafts": "drafts",
        "keyframe_guidance": "keyframe_guidance",
        "inbetween_guidance": "inbetween_guidance",
        "flow_guidance": "flow_guidance",
    },
    WINDOWS: {"window": "length", "overlap": "overlap"},
}
KEYFRAME_PLAN, WINDOW_PLAN = KeyframePlan(), WindowPlan()
DEFAULTS: Mapping[str, KeyframePlan | WindowPlan] = {KEYFRAMES: KEYFRAME_PLAN, WINDOWS: WINDOW_PLAN}
MODELS_OWN = ("keyframe_guidance", "inbetween_guidance", "length")  # of a plan: what a request leaves to its model
MODE_FIELDS = ("mode", *(name for plan in PLANS.values() for name in plan))


def read_mode(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that say how its clip is made; an empty field leaves the plan's default.

    Of several drafts the mix that scores the clip chooses.
    """
    mode = fields["mode"] or DIRECT
    plan = {field: fields[name] for name, field in PLANS.get(mode, {}).items() if fields[name] is not None}
    if plan.get("drafts", 1) > 1:
        plan["choose_by"] = fields["mix"]
    return {"mode": mode, **({mode: plan} if plan else {})}


def shown_mode(request: GenerationRequest) -> list[Any]:
    """Values of `MODE_FIELDS` that show a request; the settings of the modes that it does not use are the defaults,
    or empty where they are the model's.

    Keyframes that were given lie in the strip, not in the form: there the others are drawn together.
    """
    values: list[Any] = [request.mode]
    for mode, fields in PLANS.items():
        plan = getattr(request, mode) or DEFAULTS[mode]
        offered = plan.model_copy(update={"source": "joint"}) if getattr(plan, "source", "") == "given" else plan
        unsaid = () if mode == request.mode else MODELS_OWN
        values += [None if field in unsaid else getattr(offered, field) for field in fields.values()]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeFields:
    """The components: `fields` by the names of `MODE_FIELDS`, and the groups that only their mode shows."""

    fields: dict[str, Any]
    groups: dict[str, Any]

    @property
    def grouped(self) -> list[Any]:
        return list(self.groups.values())

    def visible(self, mode: str | None) -> list[Any]:
        """Updates for `grouped`."""
        return [gr.update(visible=mode == owner) for owner in self.groups]


def build_modes() -> ModeFields:
    """Lay the components out where this is called."""
    fields: dict[str, Any] = {
        "mode": gr.Radio(words.MODES, value=DIRECT, label=words.MODE, elem_id="mode", elem_classes="modes")
    }
    with gr.Column(visible=False, elem_classes="mode-settings") as keyframes:
        fields |= _keyframe_fields()
    with gr.Column(visible=False, elem_classes="mode-settings") as windows:
        plan = WINDOW_PLAN
        gr.HTML(f'<p class="hint">{words.WINDOWS_HINT}</p>')
        with gr.Row(elem_classes="tight"):
            fields["window"] = _of_model(words.WINDOW, "window", precision=0)
            fields["overlap"] = gr.Number(
                plan.overlap, precision=0, label=words.OVERLAP, min_width=90, elem_id="overlap"
            )
    return ModeFields(fields=fields, groups={KEYFRAMES: keyframes, WINDOWS: windows})


def _keyframe_fields() -> dict[str, Any]:
    plan = KEYFRAME_PLAN
    gr.HTML(f'<p class="hint">{words.KEYFRAMES_HINT}</p>')
    with gr.Row(elem_classes="tight"):
        interval = gr.Number(plan.interval, precision=0, label=words.INTERVAL, min_width=90, elem_id="interval")
        source = gr.Dropdown(words.SOURCES, value=plan.source, label=words.SOURCE, min_width=120, elem_id="source")
        drafts = gr.Number(plan.drafts, precision=0, label=words.DRAFTS, info=words.DRAFTS_INFO, min_width=90)
    with gr.Row(elem_classes="tight"):
        first = _of_model(words.KEYFRAME_GUIDANCE, "keyframe-guidance")
        second = _of_model(words.INBETWEEN_GUIDANCE, "inbetween-guidance")
    flow = gr.Slider(0, 1, value=plan.flow_guidance, step=0.05, buttons=[], label=words.FLOW_GUIDANCE)
    return dict(zip(PLANS[KEYFRAMES], (interval, source, drafts, first, second, flow), strict=True))


def _of_model(label: str, elem_id: str, **more: Any) -> gr.Number:
    """A number that is the model's own while the field is empty."""
    return gr.Number(None, label=label, placeholder=words.MODELS_OWN, min_width=90, elem_id=elem_id, **more)


def longest(mode: str | None, longest_direct: int) -> int:
    """The most frames that the form offers in a mode."""
    return (longest_direct - 1) * WINDOWED_LENGTHS + 1 if mode == WINDOWS else longest_direct
