"""The pieces of the report's page: numbers with their sources, tables, bars, players. What a file or a person wrote is
escaped here.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from examples.tour.plots import interval
from examples.tour.traced import Traced

BOUNDLESS = 1e8  # what stands for infinity in an interval of one prompt
NOTHING = '<span class="none" title="not measured">not measured</span>'


def esc(words: object) -> str:
    return html.escape(str(words))


def num(found: Traced | None, form: str = ".3f", unit: str = "") -> str:
    """A number, which says where it is from when it is pointed at."""
    if found is None or found.value is None:
        return NOTHING
    shown = format(found.value, form) + unit
    return f'<data value="{found.value!r}" title="{esc(found.source)}">{shown}</data>'


def share(found: Traced | None) -> str:
    return num(found, ".0%")


def seconds(found: Traced) -> str:
    """Seconds, or minutes where there are many."""
    if found.value < 100:
        return num(found, ".1f" if found.value < 10 else ".0f", " s")
    return f'<data value="{found.value!r}" title="{esc(found.source)}" data-per="60">{found.value / 60:.1f} min</data>'


def span(found: Traced | None, form: str = ".3f") -> str:
    """An interval's ends."""
    if found is None or found["low"].value is None or abs(found["low"].value) > BOUNDLESS:
        return '<span class="none">boundless: one prompt tells nothing of others</span>' if found else NOTHING
    return f"{num(found['low'], form)} to {num(found['high'], form)}"


def spanned(found: Traced | None, form: str = ".3f") -> str:
    """A mean with its interval."""
    return NOTHING if found is None else f"{num(found['mean'], form)} <small>({span(found, form)})</small>"


def drawn(found: Traced | None, scale: tuple[float, float], verdict: str = "") -> str:
    """The interval as a picture."""
    if found is None or abs(found["low"].value) > BOUNDLESS:
        return ""
    return interval(found["mean"].value, found["low"].value, found["high"].value, scale, verdict=verdict)


def common_scale(found: Iterable[Traced | None], *, around: float | None = 0.0) -> tuple[float, float]:
    """From the lowest to the highest end of all, and to `around`."""
    ends = [end for one in found if one is not None for end in (one["low"].value, one["high"].value)]
    known = [end for end in ends if end is not None and abs(end) < BOUNDLESS]
    known += [] if around is None else [around]
    return (min(known), max(known)) if known else (0.0, 1.0)


def bar(found: Traced | None) -> str:
    """A value of 0..1 as a bar."""
    if found is None or found.value is None:
        return ""
    return f'<span class="bar"><i style="width:{100 * min(max(found.value, 0.0), 1.0):.1f}%"></i></span>'


def mark(verdict: str) -> str:
    """A verdict in words and a colour."""
    words = {"better": "better", "worse": "worse", "unsure": "not sure"}
    return f'<span class="{esc(verdict)}">{esc(words.get(verdict, verdict))}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Cells are HTML already; a head that begins with a `>` is a column of numbers."""
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
    """A clip that the page holds itself: video and poster."""
    video, poster = (base64.b64encode(file.read_bytes()).decode() for file in files)
    return (
        f'<figure class="clip"><video muted loop playsinline controls preload="metadata" aria-label="{esc(spoken)}" '
        f'poster="data:image/jpeg;base64,{poster}" src="data:video/mp4;base64,{video}"></video>'
        f"<figcaption>{below}</figcaption></figure>"
    )


def prompt(words: str) -> str:
    return f'<q class="prompt">{esc(words)}</q>'


def name(words: object) -> str:
    """The name of a file, a run, a recipe: as it is."""
    return f"<code>{esc(words)}</code>"


def section(anchor: str, title: str, *parts: str) -> str:
    return f'<section id="{esc(anchor)}"><h2>{esc(title)}</h2>{"".join(parts)}</section>'


def paragraph(*parts: str) -> str:
    return f"<p>{''.join(parts)}</p>"


def bullets(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>" if items else ""


def said(words: Traced) -> str:
    """A sentence that stands in a file, as it stands there."""
    return f'<span class="said" title="{esc(words.source)}">{esc(words.value)}</span>'
