"""Fields of the generation modes in the Generate form: single pass, keyframes and sliding window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.text import modes as text
from engine.request import GenerationRequest, KeyframePlan, WindowPlan

DIRECT, KEYFRAMES, WINDOWS = "direct", "keyframes", "windows"
WINDOWED_LENGTHS = 4  # maximum length of a windowed clip, in model lengths; the CLI has no limit
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
MODELS_OWN = ("keyframe_guidance", "inbetween_guidance", "length")  # fields of a plan that default to the model's
EMPTY_AT_0 = ("keyframe_guidance", "inbetween_guidance", "window")  # names in the form of those fields
MODE_FIELDS = ("mode", *(name for plan in PLANS.values() for name in plan))


def read_mode(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Read mode and plan of a request; an empty field keeps the plan's default.

    In fields that default to the model's, 0 is empty: an empty number becomes 0 when Gradio shows its field.
    The mix that scores the clip selects among several drafts.
    """
    mode = fields["mode"] or DIRECT
    empty = {name: (None, 0) if name in EMPTY_AT_0 else (None,) for name in PLANS.get(mode, {})}
    plan = {field: fields[name] for name, field in PLANS.get(mode, {}).items() if fields[name] not in empty[name]}
    if plan.get("drafts", 1) > 1:
        plan["choose_by"] = fields["mix"]
    return {"mode": mode, **({mode: plan} if plan else {})}


def shown_mode(request: GenerationRequest) -> list[Any]:
    """Return the values of `MODE_FIELDS` for a request.

    Unused modes have their defaults, or empty fields for defaults of the model. Given keyframes are shown in the
    keyframe editor; for them the form shows the joint source.
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
    """Components: `fields` by the names of `MODE_FIELDS`, and `groups` visible in their mode only."""

    fields: dict[str, Any]
    groups: dict[str, Any]

    @property
    def grouped(self) -> list[Any]:
        return list(self.groups.values())

    def visible(self, mode: str | None) -> list[Any]:
        """Return updates for `grouped`."""
        return [gr.update(visible=mode == owner) for owner in self.groups]


def build_modes() -> ModeFields:
    """Create the components in the current layout block."""
    fields: dict[str, Any] = {
        "mode": gr.Radio(text.MODES, value=DIRECT, label=text.MODE, elem_id="mode", elem_classes="modes")
    }
    with gr.Column(visible=False, elem_classes="mode-settings") as keyframes:
        fields |= _keyframe_fields()
    with gr.Column(visible=False, elem_classes="mode-settings") as windows:
        plan = WINDOW_PLAN
        gr.HTML(f'<p class="hint">{text.WINDOWS_HINT}</p>')
        with gr.Row(elem_classes="tight"):
            fields["window"] = _of_model(text.WINDOW, "window", precision=0)
            fields["overlap"] = gr.Number(
                plan.overlap, precision=0, label=text.OVERLAP, min_width=90, elem_id="overlap"
            )
    return ModeFields(fields=fields, groups={KEYFRAMES: keyframes, WINDOWS: windows})


def _keyframe_fields() -> dict[str, Any]:
    plan = KEYFRAME_PLAN
    gr.HTML(f'<p class="hint">{text.KEYFRAMES_HINT}</p>')
    with gr.Row(elem_classes="tight"):
        interval = gr.Number(plan.interval, precision=0, label=text.INTERVAL, min_width=90, elem_id="interval")
        source = gr.Dropdown(text.SOURCES, value=plan.source, label=text.SOURCE, min_width=120, elem_id="source")
        drafts = gr.Number(
            plan.drafts, precision=0, label=text.DRAFTS, info=text.DRAFTS_INFO, min_width=90, elem_id="drafts"
        )
    with gr.Row(elem_classes="tight"):
        first = _of_model(text.KEYFRAME_GUIDANCE, "keyframe-guidance")
        second = _of_model(text.INBETWEEN_GUIDANCE, "inbetween-guidance")
    flow = gr.Slider(
        0, 1, value=plan.flow_guidance, step=0.05, buttons=[], label=text.FLOW_GUIDANCE, elem_id="flow-guidance"
    )
    return dict(zip(PLANS[KEYFRAMES], (interval, source, drafts, first, second, flow), strict=True))


def _of_model(label: str, elem_id: str, **more: Any) -> gr.Number:
    """Create a number field; 0 and empty mean the model's default."""
    return gr.Number(None, label=label, info=text.MODELS_OWN, min_width=90, elem_id=elem_id, **more)


def longest(mode: str | None, longest_direct: int) -> int:
    """Return the maximum number of frames in a mode."""
    return (longest_direct - 1) * WINDOWED_LENGTHS + 1 if mode == WINDOWS else longest_direct
