"""Base class of our components: a `gr.HTML` with a template, a style and a script in this folder.

Gradio evaluates a template as JavaScript with the component's values in it, so our templates contain only `words`; user
input is sent as data, and the script inserts it as text.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
SLOT = "<slot></slot>"


@cache
def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


class Component(gr.HTML):
    """Component: `value` (JSON) for the script, `words` for the template, `props` for the script.

    `around` names another component's files, whose template has a place for this one's (`SLOT`) and whose script goes
    on from this one's: one component on the page, so that neither waits for the other.

    A long script has its first parts in files of their own (`before`, `around_before`); all parts share their names.

    Update a component by its plain value only: for a `gr.update` or `gr.skip` Gradio creates it again, and `words` are
    lost if it is not on screen yet.
    """

    def __init__(
        self,
        files: str,
        value: Any = None,
        *,
        words: dict[str, Any],
        elem_id: str | None = None,
        server_functions: Sequence[Callable[..., Any]] = (),
        around: str | None = None,
        around_before: Sequence[str] = (),
        before: Sequence[str] = (),
        render: bool = True,
        **props: Any,
    ) -> None:
        html, css, script = (read(f"{files}.{kind}") for kind in ("html", "css", "js"))
        script = "\n".join([*(read(f"{part}.js") for part in before), script])
        if around is not None:
            html = read(f"{around}.html").replace(SLOT, html)
            css = f"{css}\n{read(f'{around}.css')}"
            outer = "\n".join(read(f"{part}.js") for part in (*around_before, around))
            script = f"{script}\n(() => {{\n{outer}\n}})();"
        super().__init__(
            value,
            html_template=html,
            css_template=css,
            js_on_load=script,
            render=render,
            apply_default_css=False,
            elem_id=elem_id,
            server_functions=list(server_functions),
            words=words,
            **props,
        )

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
