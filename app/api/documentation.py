"""The documentation of a checkout, as the text of its Markdown files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from app.text.help import NO_DOCS

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"[a-z-]+\.md")


def documentation_routes(dependencies: Sequence[Any] = ()) -> APIRouter:
    """Return the route `/docs/<name>.md`; an installation without the files answers where they are."""
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)

    @router.get("/docs/{name}")
    def page(name: str) -> PlainTextResponse:
        path = DOCS / name
        if not NAME.fullmatch(name) or not path.is_file():
            return PlainTextResponse(NO_DOCS, 404)
        return PlainTextResponse(path.read_text(encoding="utf-8"))

    return router
