"""SVG plots without scripts: curves by step, and an interval on a scale.

The colours come from the CSS of the page (`PLOT_STYLE`), which follows its light or dark theme.
"""

import html
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 360, 176
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 10, 22
SPAN_WIDTH, SPAN_HEIGHT = 180, 18
Points = Sequence[tuple[float, float]]

PLOT_STYLE = """
:root { --s0: #b06a10; --s1: #2f78a8; --s2: #3f8353; --s3: #95558c; --s4: #756f5d; --s5: #bf4a3c; --axis: #c9c8c4; }
@media (prefers-color-scheme: dark) {
  :root { --s0: #e6a13a; --s1: #6db0da; --s2: #78bd8a; --s3: #cd92c4; --s4: #b3ad9a; --s5: #e58073; --axis: #4b4b49; }
}
.plot { display: inline-block; margin: 0; vertical-align: top; }
.plot figcaption { font-size: 13px; }
.plot svg { display: block; max-width: 100%; height: auto; }
.plot text, .span text { font-size: 11px; fill: currentColor; opacity: .75; }
.plot polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.plot .axis, .span .axis { stroke: var(--axis); stroke-width: 1; }
.span .whole { stroke: currentColor; stroke-width: 2; opacity: .8; }
.span .middle { fill: currentColor; }
.span.better { color: var(--s2); } .span.worse { color: var(--s5); }
.legend span { margin-right: .8em; white-space: nowrap; }
.legend i { display: inline-block; width: 14px; height: 3px; vertical-align: middle; margin-right: 5px; }
""" + "".join(f".s{n} {{ stroke: var(--s{n}); }} i.s{n} {{ background: var(--s{n}); }}\n" for n in range(6))
SERIES = 6


def curves(title: str, series: Mapping[str, Points], *, across: str = "step", source: str = "") -> str:
    """Plot one or more series of at least one point each in common axes.

    The ends of both axes are labelled. `source` is kept as the attribute `data-source` of the figure.
    """
    (left, right), (low, high) = (_ends(series, axis) for axis in (0, 1))
    lines = "".join(
        _line(points, f"s{number % SERIES}", left, right, low, high) for number, points in enumerate(series.values())
    )
    ends = [(LEFT - 6, TOP + 8, "end", high), (LEFT - 6, HEIGHT - BOTTOM, "end", low)]
    ends += [(LEFT, HEIGHT - 6, "start", left), (WIDTH - RIGHT, HEIGHT - 6, "end", right)]
    labels = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{_short(value)}</text>' for x, y, anchor, value in ends
    )
    floor = HEIGHT - BOTTOM
    axis = f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>'
    named = html.escape(title)
    return (
        f'<figure class="plot" data-source="{html.escape(source)}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{named}">'
        f"{axis}{labels}{lines}</svg>"
        f"<figcaption>{named}, by {html.escape(across)}{_legend(series)}</figcaption></figure>"
    )


def interval(mean: float, low: float, high: float, scale: tuple[float, float], *, verdict: str = "") -> str:
    """Draw a mean with its interval on a scale that several rows share.

    A line marks 0 if the scale contains it. The interval is clipped at the ends of the scale.
    """
    left, right = scale

    def place(value: float) -> float:
        return 4 + (min(max(value, left), right) - left) / ((right - left) or 1) * (SPAN_WIDTH - 8)

    middle = SPAN_HEIGHT / 2
    zero = f'<path class="axis" d="M{place(0):.1f} 0V{SPAN_HEIGHT}"/>' if left <= 0 <= right else ""
    return (
        f'<svg class="span {html.escape(verdict)}" viewBox="0 0 {SPAN_WIDTH} {SPAN_HEIGHT}" width="{SPAN_WIDTH}" '
        f'height="{SPAN_HEIGHT}" aria-hidden="true">{zero}'
        f'<path class="whole" d="M{place(low):.1f} {middle}H{place(high):.1f}"/>'
        f'<circle class="middle" cx="{place(mean):.1f}" cy="{middle}" r="4"/></svg>'
    )


def _ends(series: Mapping[str, Points], axis: int) -> tuple[float, float]:
    values = [point[axis] for points in series.values() for point in points]
    return min(values), max(values)


def _line(points: Points, css: str, left: float, right: float, low: float, high: float) -> str:
    across, up = (right - left) or 1, (high - low) or 1
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = " ".join(
        f"{LEFT + (x - left) / across * wide:.1f},{HEIGHT - BOTTOM - (y - low) / up * tall:.1f}" for x, y in points
    )
    return f'<polyline class="{css}" points="{places}"/>'


def _short(value: float) -> str:
    return f"{value:.3g}"


def _legend(series: Mapping[str, Points]) -> str:
    if len(series) < 2:
        return ""
    marks = (f'<span><i class="s{n % SERIES}"></i>{html.escape(name)}</span>' for n, name in enumerate(series))
    return f'<br><span class="legend">{"".join(marks)}</span>'
