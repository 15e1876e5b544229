"""The mistake in a form: a sentence at its button, and the field with the mistake, marked and focused."""

import time
from collections.abc import Mapping
from typing import Any

from app.components.base import Component
from engine.errors import DailiesError


class FieldProblem(Component):
    """Line for the mistake in the form around it. `value` comes from `of`, None for no mistake.

    `fields` are the components of the form by the names of fields in errors.
    """

    def __init__(self, name: str, fields: Mapping[str, Any], *, render: bool = True) -> None:
        self._ids = {field: component.elem_id for field, component in fields.items() if component.elem_id}
        super().__init__("field_problem", words={}, elem_id=name, render=render)

    def of(self, error: DailiesError) -> dict[str, Any]:
        """Return the value that shows an error; `at` tells two equal ones apart."""
        field = getattr(error, "field", "")
        return {"field": self._ids.get(field, ""), "sentence": str(error), "at": time.monotonic()}
