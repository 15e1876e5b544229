"""HTML parts of the report: numbers with their sources, tables, bars, players.

Text from files and people is escaped here.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from examples.tour.plots import interval
from examples.tour.traced import Traced

BOUNDLESS = 1e8  # replaces infinity in the interval of a single prompt
NOTHING = '<span class="none" title="not measured">not measured</span>'


def esc(words: object) -> str:
    return html.escape(str(words))


def num(found: Traced | None, form: str = ".3f", unit: str = "") -> str:
    """Render a number; its tooltip is its source."""
    if found is None or found.value is None:
        return NOTHING
    shown = format(found.value, form) + unit
    return f'<data value="{found.value!r}" title="{esc(found.source)}">{shown}</data>'


def share(found: Traced | None) -> str:
    return num(found, ".0%")


def seconds(found: Traced) -> str:
    """Render a duration in seconds, or in minutes from 100 s."""
    if found.value < 100:
        return num(found, ".1f" if found.value < 10 else ".0f", " s")
    return f'<data value="{found.value!r}" title="{esc(found.source)}" data-per="60">{found.value / 60:.1f} min</data>'


def span(found: Traced | None, form: str = ".3f") -> str:
    """Render the ends of an interval."""
    if found is None or found["low"].value is None or abs(found["low"].value) > BOUNDLESS:
        return '<span class="none">unbounded: only one prompt</span>' if found else NOTHING
    return f"{num(found['low'], form)} to {num(found['high'], form)}"


def spanned(found: Traced | None, form: str = ".3f") -> str:
    """Render a mean with its interval."""
    return NOTHING if found is None else f"{num(found['mean'], form)} <small>({span(found, form)})</small>"


def drawn(found: Traced | None, scale: tuple[float, float], verdict: str = "") -> str:
    """Draw an interval as SVG; nothing if it is unbounded."""
    if found is None or abs(found["low"].value) > BOUNDLESS:
        return ""
    return interval(found["mean"].value, found["low"].value, found["high"].value, scale, verdict=verdict)


def common_scale(found: Iterable[Traced | None], *, around: float | None = 0.0) -> tuple[float, float]:
    """Return the range that contains the ends of all intervals, and `around`."""
    ends = [end for one in found if one is not None for end in (one["low"].value, one["high"].value)]
    known = [end for end in ends if end is not None and abs(end) < BOUNDLESS]
    known += [] if around is None else [around]
    return (min(known), max(known)) if known else (0.0, 1.0)


def bar(found: Traced | None) -> str:
    """Render a value in 0..1 as a bar."""
    if found is None or found.value is None:
        return ""
    return f'<span class="bar"><i style="width:{100 * min(max(found.value, 0.0), 1.0):.1f}%"></i></span>'


def mark(verdict: str) -> str:
    """Render a verdict as a coloured word."""
    words = {"better": "better", "worse": "worse", "unsure": "uncertain"}
    return f'<span class="{esc(verdict)}">{esc(words.get(verdict, verdict))}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Render a table. Cells are HTML; a heading that starts with `>` is a column of numbers."""
    numeric = [name.startswith(">") for name in head]
    top = "".join(f"<th{_side(right)}>{name.lstrip('>')}</th>" for name, right in zip(head, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_side(right)}>{cell}</td>" for cell, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    told = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="wide"><table>{told}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _side(right: bool) -> str:
    return ' class="number"' if right else ""


def player(files: tuple[Path, Path], spoken: str, below: str) -> str:
    """Render a video player; the video and its poster are embedded in the page."""
    video, poster = (base64.b64encode(file.read_bytes()).decode() for file in files)
    return (
        f'<figure class="clip"><video muted loop playsinline controls preload="metadata" aria-label="{esc(spoken)}" '
        f'poster="data:image/jpeg;base64,{poster}" src="data:video/mp4;base64,{video}"></video>'
        f"<figcaption>{below}</figcaption></figure>"
    )


def prompt(words: str) -> str:
    return f'<q class="prompt">{esc(words)}</q>'


def name(words: object) -> str:
    """Render the name of a file, run or preset as code."""
    return f"<code>{esc(words)}</code>"


def section(anchor: str, title: str, *parts: str) -> str:
    return f'<section id="{esc(anchor)}"><h2>{esc(title)}</h2>{"".join(parts)}</section>'


def paragraph(*parts: str) -> str:
    return f"<p>{''.join(parts)}</p>"


def bullets(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def said(words: Traced) -> str:
    """Render a sentence quoted from a file; its tooltip is its source."""
    return f'<span class="said" title="{esc(words.source)}">{esc(words.value)}</span>'
