"""Base class of our components: a `gr.HTML` with a template, a style and an ES module in this folder.

Gradio evaluates a template as JavaScript with the component's values in it, so our templates contain only `words`; user
input is sent as data, and the module inserts it as text.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr

from app.modules import on_load

HERE = Path(__file__).parent
SLOT = "<slot></slot>"


@cache
def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


class Component(gr.HTML):
    """Component: `value` (JSON) for the module, `words` for the template, `props` for the module.

    The module `<files>.js` exports a function of {element, trigger, props, server, upload, watch}, as Gradio names
    them; it is called when the component is on the page. `custom_events` are the events that it triggers.

    `around` names another component's files: its template has a place for this one's (`SLOT`), and its module mounts
    this one's. Both are one component on the page, so that neither waits for the other.

    Update a component by its plain value only: for a `gr.update` or `gr.skip` Gradio creates it again, and `words` are
    lost if it is not on screen yet.
    """

    custom_events: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        files: str,
        value: Any = None,
        *,
        words: dict[str, Any],
        elem_id: str | None = None,
        server_functions: Sequence[Callable[..., Any]] = (),
        around: str | None = None,
        render: bool = True,
        **props: Any,
    ) -> None:
        html, css = (read(f"{files}.{kind}") for kind in ("html", "css"))
        if around is not None:
            html = read(f"{around}.html").replace(SLOT, html)
            css = f"{css}\n{read(f'{around}.css')}"
        self.module = around or files
        super().__init__(
            value,
            html_template=html,
            css_template=css,
            js_on_load=on_load(self.module, self.custom_events),
            render=render,
            apply_default_css=False,
            elem_id=elem_id,
            server_functions=list(server_functions),
            words=words,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
