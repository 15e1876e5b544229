"""The documentation: its Markdown files as pages, with navigation and pictures.

Raw HTML in the files is shown as text, and links go to other pages or to http addresses only.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.modules import address
from app.text.general import LIGHT_OR_DARK, TITLE
from app.text.help import DOCS_WORDS, NO_DOCS
from engine.workspace import is_name

HERE, DOCS = Path(__file__).parent, Path(__file__).parents[2] / "docs"
NAME, PICTURE = re.compile(r"[a-z-]+\.md"), re.compile(r"[a-z0-9-]+\.png")
LISTED = re.compile(r"^## (.+)$|\]\(([a-z-]+\.md)\)", re.MULTILINE)
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)  # marks of generated tables
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def documentation_routes() -> APIRouter:
    """Return the routes `/docs/<name>.md` and those of their pictures."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs/{name}")
    def page(name: str) -> Response:
        path = DOCS / name
        if not (NAME.fullmatch(name) and is_name(name)) or not path.is_file():
            return PlainTextResponse(NO_DOCS, 404)
        return HTMLResponse(page_of(name, path.read_text(encoding="utf-8"), contents()))

    @router.get("/docs/screenshots/{name}")
    def picture(name: str) -> FileResponse:
        path = DOCS / "screenshots" / name
        if not (PICTURE.fullmatch(name) and is_name(name)) or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="image/png")

    return router


def contents() -> tuple[tuple[str, str], ...]:
    """Return names and titles of the pages; headings have the name ""."""
    found = LISTED.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    listed = list(dict.fromkeys([("index.md", ""), *((name, part) for part, name in found)]))
    return tuple(
        (name, title_of(DOCS / name) if name else part)
        for (name, part), (following, _) in zip(listed, [*listed[1:], ("", "")], strict=True)
        if name or following
    )


def title_of(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), path.stem)


@lru_cache(maxsize=64)
def page_of(name: str, text: str, pages: tuple[tuple[str, str], ...]) -> str:
    """Return the page of a Markdown `text` as HTML, with the list of all pages."""
    tokens = MARKDOWN.parse(COMMENT.sub("", text))
    sections = list(_with_ids(tokens))
    for token in _links(tokens):
        if str(token.attrGet("href")).startswith("http"):
            token.attrs |= {"target": "_blank", "rel": "noopener"}
    own = "".join(f'<li><a href="#{key}">{html.escape(title)}</a></li>' for key, title in sections)
    entries = [_entry(page, title, own if page == name else None) for page, title in pages]
    words = {
        "title": html.escape(dict(pages).get(name, name)),
        "home": TITLE,
        "theme_hint": LIGHT_OR_DARK,
        "theme": address("scripts/theme"),
        "pages": f"<ul>{''.join(entries)}</ul>",
        "text": MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}),
        **DOCS_WORDS,
    }
    template = (HERE / "documentation.html").read_text(encoding="utf-8")
    return re.sub(r"{{words\.(\w+)}}", lambda slot: words[slot[1]], template)


def _entry(page: str, title: str, own: str | None) -> str:
    if not page:
        return f'<li class="part">{html.escape(title)}</li>'
    current = "" if own is None else ' aria-current="page"'
    return f'<li><a href="{page}"{current}>{html.escape(title)}</a>{f"<ul>{own}</ul>" if own else ""}</li>'


def _with_ids(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Give each heading the id that MkDocs gives it; yield id and title of those of the second level."""
    taken = set[str]()
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            title = "".join(part.content for part in content.children or ())
            key = slug = slug_of(title)
            for number in range(1, len(tokens)):
                if key not in taken:
                    break
                key = f"{slug}_{number}"
            taken.add(key)
            opening.attrSet("id", key)
            if opening.tag == "h2":
                yield key, title


def slug_of(title: str) -> str:
    """Return the anchor of a heading, as Python-Markdown's table of contents makes it."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def _links(tokens: Sequence[Token]) -> Iterator[Token]:
    return (part for token in tokens for part in token.children or () if part.type == "link_open")
