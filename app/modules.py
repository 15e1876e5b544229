"""The page's JavaScript: ES modules under an address with the hash of their content.

A module of `scripts/` or `components/` is at `/modules/<hash>/<folder>/<name>.js`, and imports others by relative
paths. The hash is over all modules, so browsers may keep them for good, and a page never mixes two versions.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from app.text import general
from app.text.access import WRONG_PATH

HERE = Path(__file__).parent
FOLDERS = ("scripts", "components")
KEPT = "private, max-age=31536000, immutable"
PAGE = "scripts/page"


@cache
def sources() -> dict[str, bytes]:
    """Return the text of each module by its path, e.g. "scripts/dom.js"."""
    paths = sorted(path for folder in FOLDERS for path in (HERE / folder).glob("*.js"))
    return {path.relative_to(HERE).as_posix(): path.read_bytes() for path in paths}


@cache
def digest() -> str:
    """Return the hash of all modules."""
    found = hashlib.sha256()
    for name, text in sources().items():
        found.update(f"{name}\0{len(text)}\0".encode() + text)
    return found.hexdigest()[:16]


def address(name: str) -> str:
    """Return the address of a module, e.g. of "components/header"."""
    assert f"{name}.js" in sources(), f"there is no module {name}.js"
    return f"/modules/{digest()}/{name}.js"


def on_load(component: str, events: Iterable[str]) -> str:
    """Return the `js_on_load` of a component.

    It passes the names that Gradio runs it with to the component's module. Gradio offers listeners for the `events`
    that it finds, in quotes, in this text.
    """
    given = "element, trigger, props, server, upload, watch"
    load = f'import("{address(f"components/{component}")}").then((module) => module.default({{ {given} }}));'
    return f"{load} // events: {json.dumps(list(events))}"


def module_routes() -> APIRouter:
    """Build the route of the modules. They hold nothing private."""
    routes = APIRouter()

    @routes.get("/modules/{version}/{name:path}", include_in_schema=False)
    def module(version: str, name: str) -> Response:
        text = sources().get(name) if version == digest() else None
        if text is None:
            return Response(status_code=404, headers={"Cache-Control": "no-store"})
        return Response(text, media_type="text/javascript", headers={"Cache-Control": KEPT})

    return routes


def page_head(components: Iterable[str], paths: Iterable[str]) -> str:
    """Return the HTML that loads the modules of a page before Gradio's own.

    Other modules are loaded through imports. Under an address that is not in `paths`, e.g. behind a proxy that adds a
    path, the page shows only a message about it.
    """
    told = {"plotWords": general.PLOT_WORDS, "copyWords": general.COPY_WORDS, "unreachable": general.UNREACHABLE}
    words = json.dumps(told).replace("<", "\\u003c")
    # "interactive" comes before the page's modules, so Gradio finds nothing to start.
    placed = (
        f"if (!{json.dumps(list(paths))}.includes(location.pathname)) "
        'addEventListener("readystatechange", '
        f"() => document.body.replaceChildren({json.dumps(WRONG_PATH)}), {{ capture: true, once: true }});"
    )
    names = [PAGE, *(f"components/{name}" for name in sorted(set(components)))]
    loads = "".join(f'<script type="module" src="{address(name)}"></script>' for name in names)
    return f'<script type="application/json" id="dailies-words">{words}</script><script>{placed}</script>{loads}'
