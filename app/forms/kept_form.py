"""The Generate form as the browser kept it.

It is saved there on each change, and checked here when the page is opened.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from app.components.clips import AdapterRows
from app.forms.adapter_fields import are_rows
from app.modules import address

MODULE = "scripts/kept_form"


def keep_js(names: Sequence[str]) -> str:
    """Return the script that saves the values of fields by name; it is called with them in this order."""
    load = f'import("{address(MODULE)}")'
    return f"(...values) => {{ {load}.then((kept) => kept.keep({json.dumps(list(names))}, values)); }}"


def read_js() -> str:
    """Return the script that resolves to what was saved, as JSON.

    It resolves to "" if nothing was saved, or if its module is missing.
    """
    return f'async () => [await import("{address(MODULE)}").then((kept) => kept.read()).catch(() => "")]'


def begin_js() -> str:
    """Return the script after which changes are saved; before it they are the page's own."""
    return f'() => {{ import("{address(MODULE)}").then((kept) => kept.begin()); }}'


def read_kept(text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that fit their components, by name. Damaged text has none."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if name in fields and _fits(fields[name], value)}


def _fits(field: Any, value: Any) -> bool:
    for kinds, fits in CHECKS:
        if isinstance(field, kinds):
            return fits(field, value)
    return False


def _is_number(_: Any, value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_choice(field: Any, value: Any) -> bool:
    return value in [key for _, key in field.choices]


CHECKS: tuple[tuple[tuple[type, ...], Callable[[Any, Any], bool]], ...] = (
    ((gr.Dropdown, gr.Radio), _is_choice),
    ((gr.Checkbox,), lambda _, value: isinstance(value, bool)),
    ((gr.Slider, gr.Number), _is_number),
    ((gr.Textbox,), lambda _, value: isinstance(value, str)),
    ((AdapterRows,), lambda _, value: are_rows(value)),
)
