"""The help of the Generate form's fields: a sentence each, from the settings of a request."""

from collections.abc import Mapping
from typing import Any

from app.components.base import Component
from app.forms.mode_fields import KEYFRAMES, PLANS, WINDOWS
from app.text.help import GENERATE_FIELDS, HELP_WORDS
from engine.request import GenerationRequest, KeyframePlan, WindowPlan


class FieldHelp(Component):
    """Puts an icon with its sentence at the label of each field of the form around it."""

    def __init__(self, fields: Mapping[str, Any], *, render: bool = True) -> None:
        said = sentences()
        hints = {field.elem_id: said[name] for name, field in fields.items() if name in said and field.elem_id}
        super().__init__("field_help", words={"about": HELP_WORDS["about"]}, hints=hints, render=render)


def sentences() -> dict[str, str]:
    """Return the sentence of each field by its name in the form."""
    found = {name: field.description for name, field in GenerationRequest.model_fields.items()}
    for mode, plan in ((KEYFRAMES, KeyframePlan), (WINDOWS, WindowPlan)):
        found |= {name: plan.model_fields[field].description for name, field in PLANS[mode].items()}
    return {name: sentence for name, sentence in found.items() if sentence} | GENERATE_FIELDS
