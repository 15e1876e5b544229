"""What a person sees of the page, and what a browser may ask its server."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import access

HOME = "http://127.0.0.1"
SHOWN = ("label", "info", "placeholder", "choices", "elem_id", "visible", "interactive", "minimum", "maximum", "step")
FUNCTIONS = re.compile(r"\bserver\.(\w+)\(")


def measure(folder: Path) -> dict[str, Any]:
    """The pages of an empty workspace in `folder`, read over HTTP, and the routes of their server."""
    from fastapi.testclient import TestClient

    desk = access.AppContext.open(folder)

    async def build() -> Any:
        return access.build_server(desk)

    application = asyncio.run(build())
    with TestClient(application, base_url=HOME) as client:
        pages = {
            place or "/": page(client.get(f"{place}/config").raise_for_status().json()) for place in ("", "/label")
        }
    routes = sorted({" ".join(one) for one in addresses(application.routes)})
    desk.store.close()
    return {"page": pages, "routes": routes}


def page(config: dict[str, Any]) -> dict[str, Any]:
    """Components in their order, by type and what they show; events by component, name and API name."""
    components = {one["id"]: one for one in config["components"]}
    return {
        "title": config.get("title"),
        "components": [component(one) for one in config["components"]],
        "events": sorted(event(one, components) for one in config["dependencies"]),
    }


def component(one: dict[str, Any]) -> dict[str, Any]:
    props = one["props"]
    shown = {name: props[name] for name in SHOWN if props.get(name) not in (None, "", [])}
    if one["type"] in ("button", "markdown", "checkbox", "tabitem"):
        shown["value"] = props.get("value")
    return {"type": one["type"], **shown}


def event(one: dict[str, Any], components: dict[int, Any]) -> str:
    targets = [f"{named(components.get(number))}.{name}" for number, name in one["targets"]]
    inputs, outputs = len(one["inputs"]), len(one["outputs"])
    return f"{', '.join(targets)} -> {one.get('api_name')} ({inputs} in, {outputs} out)"


def named(one: dict[str, Any] | None) -> str:
    if one is None:
        return "page"
    props = one["props"]
    return f"{one['type']}[{props.get('elem_id') or props.get('label') or props.get('value') or ''}]"


def addresses(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of every route."""
    from starlette.routing import Mount

    for route in routes:
        if isinstance(route, Mount):
            yield from addresses(getattr(route.app, "routes", []), prefix + route.path)
        elif hasattr(route, "original_router"):  # FastAPI's place for an included router
            yield from addresses(route.original_router.routes, prefix)
        else:
            for method in sorted(route.methods or {"GET"}):
                yield method, prefix + route.path
