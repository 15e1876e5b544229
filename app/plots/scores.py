"""Plots of scores as Plotly figures: bars, profile, values per frame, and correlations.

They are transparent and leave the colours of text and grid to `page.css`, which follows the theme. The colours of the
data have a contrast of at least 3:1 on both backgrounds and are distinguishable for colour-blind users.
"""

import html
import textwrap
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.text import general
from app.text import score as text_score
from app.theme import SANS
from app.views.scores import Score
from rewards.registry import REWARDS

SERIES = ("#c77f1f", "#3f86b5", "#5a9a6b", "#a86fa0", "#8a8473", "#cc5b4d")
MUTED = "#8b8a86"
DASHES = ("solid", "dot", "dash")  # the later ones mark lines that reuse a colour
DECLARED = "dashdot"
LEGEND_ROWS, LEGEND_ROW_PX = 2, 19  # two names a row; with more rows the figure grows
MAX_NOTES = 2  # sentences in a bar's hover text
FAINT = "#8b8a8655"  # lines of a profile, in both themes
DIVERGING = ((0.0, "#7fb2d4"), (0.5, "#e6e5e2"), (1.0, "#e6a13a"))  # all of it is light enough for dark text
BAR_PX, CHROME_PX, TITLE_PX = 34, 28, 18  # height of one reward's row, of the margins, and of an axis' title
HOVER = {"bgcolor": "#1d1d1d", "bordercolor": "#1d1d1d", "font": {"color": "#f1f0ed", "size": 12}}


def style_of(reward: str) -> tuple[str, str]:
    """Return the colour and the dash of a reward, the same in every plot."""
    built_in = list(REWARDS)
    if reward not in built_in:
        return SERIES[zlib.crc32(reward.encode()) % len(SERIES)], DECLARED
    place = built_in.index(reward)
    return SERIES[place % len(SERIES)], DASHES[place // len(SERIES) % len(DASHES)]


def axis_title(words: str) -> dict[str, Any]:
    return {"text": words, "standoff": 4, "font": {"size": 11}}


def reward_bars(clips: Sequence[tuple[str, Sequence[Score]]]) -> go.Figure | None:
    """Plot a bar per reward for one clip or up to four (name, scores); None if no clip was scored.

    A reward without a value has a note with the reason instead of a bar.
    """
    rows = _titles(clips)
    if not rows:
        return None
    figure = go.Figure()
    for index, (name, scores) in enumerate(clips):
        figure.add_trace(_bar(name, scores, None if len(clips) == 1 else SERIES[index % len(SERIES)]))
    for score in clips[0][1] if len(clips) == 1 else ():
        if score.value is None:
            figure.add_annotation(
                x=0.01, y=score.spec.title, text=general.NOT_APPLICABLE, hovertext=hover(score), **_NOTE
            )
    height = len(rows) * max(BAR_PX, 18 * len(clips) + 12) + CHROME_PX + TITLE_PX
    hatched = len(clips) == 1 and any(not score.weight and score.value is not None for score in clips[0][1])
    figure.update_xaxes(title=axis_title(text_score.score_axis(hatched=hatched)))
    figure.update_layout(**layout(height), barmode="group", bargap=0.35, bargroupgap=0.08)
    figure.update_xaxes(range=[0, 1.12], tickvals=[0, 0.25, 0.5, 0.75, 1], fixedrange=True, zeroline=False)
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, ticksuffix="  ")
    return figure


def timeline(scores: Sequence[Score]) -> go.Figure | None:
    """Plot one line per reward over the frames of a clip; None if no reward has values per frame."""
    shown = [score for score in scores if any(value is not None for value in score.per_frame)]
    if not shown:
        return None
    figure = go.Figure()
    for score in shown:
        colour, dash = style_of(score.spec.key)
        line = {"color": colour, "width": 2, "dash": dash}
        label = f"{score.spec.title} %{{y:.2f}}<extra></extra>"
        figure.add_trace(
            go.Scatter(y=score.per_frame, name=score.spec.title, mode="lines", line=line, hovertemplate=label)
        )
    height = 196 + TITLE_PX + LEGEND_ROW_PX * max(0, (len(shown) + 1) // 2 - LEGEND_ROWS)
    figure.update_layout(**{**layout(height), "hovermode": "x unified", "showlegend": True, "legend": _LEGEND})
    longest = max(len(score.per_frame) for score in shown)
    figure.update_xaxes(range=[0, max(1, longest - 1)], fixedrange=True, showgrid=False, zeroline=False)
    figure.update_yaxes(range=[-0.03, 1.06], tickvals=[0, 0.5, 1], fixedrange=True, zeroline=False)
    figure.update_xaxes(title=axis_title(text_score.FRAME_AXIS))
    figure.update_yaxes(title=axis_title(text_score.score_axis()))
    return figure


def radar(clips: Sequence[tuple[str, Sequence[Score]]]) -> go.Figure | None:
    """Plot the profile of one clip, or of up to four; None for fewer than three rewards."""
    titles = _titles([(name, [score for score in scores if score.value is not None]) for name, scores in clips])
    if len(titles) < 3:
        return None
    figure = go.Figure()
    for index, (name, scores) in enumerate(clips):
        values = {score.spec.title: score.value for score in scores}
        around = [*titles, titles[0]]
        figure.add_trace(
            go.Scatterpolar(
                r=[values.get(title) for title in around],
                theta=around,
                name=name,
                mode="lines+markers",
                connectgaps=False,
                line={"color": SERIES[index % len(SERIES)], "width": 2},
                fill="toself" if len(clips) == 1 else "none",
                fillcolor="rgba(199, 127, 31, 0.14)",
                hovertemplate="%{theta} %{r:.2f}<extra></extra>",
            )
        )
    figure.update_layout(**{**layout(280), "margin": {"l": 40, "r": 40, "t": 30, "b": 30}, "polar": _POLAR})
    return figure


def matrix(titles: Sequence[str], values: np.ndarray) -> go.Figure:
    """Plot rank correlations `float64[n,n]` of rewards as a heat map with numbers; NaN stays empty."""
    shown = [[None if np.isnan(value) else round(float(value), 2) for value in line] for line in values]
    return squares(titles, shown, low=-1, number="%{z:.2f}", hover="%{y} and %{x}: %{z:.2f}")


def squares(
    names: Sequence[str], values: Sequence[Sequence[Any]], *, low: float, number: str, hover: str, more: Any = None
) -> go.Figure:
    """Plot a heat map of values from `low` to 1 with numbers; `more` is the customdata for `hover`."""
    heat = go.Heatmap(
        z=values,
        x=list(names),
        y=list(names),
        customdata=more,
        zmin=low,
        zmax=1,
        colorscale=DIVERGING,
        showscale=False,
        xgap=2,
        ygap=2,
        texttemplate=number,
        textfont={"size": 11, "color": "#1d1d1d"},
        hoverongaps=False,
        hovertemplate=f"{hover}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_layout(**{**layout(40 * len(names) + 110), "margin": {"l": 8, "r": 8, "t": 8, "b": 8}})
    figure.update_xaxes(fixedrange=True, showgrid=False, zeroline=False, ticks="", tickangle=-40)
    figure.update_yaxes(
        fixedrange=True, showgrid=False, zeroline=False, ticks="", autorange="reversed", ticksuffix="  "
    )
    return figure


def hover(score: Score) -> str:
    """Return the hover text of a bar: the reward's question, its measurement, back end and weight."""
    lines = [f"<b>{score.spec.title}</b>", *wrapped(score.spec.question)]
    if score.value is None:
        return "<br>".join([*lines, *wrapped(general.reason(score.result.reason))])
    lines.append(general.score_of(score.value, score.weight))
    if score.result.raw is not None:
        lines.append(general.measured(score.result.raw, score.spec.unit, score.spec.low, score.spec.high))
    lines.append(general.measured_by(score.result.backend, score.result.confidence))
    if score.result.details:
        lines += wrapped(general.details(score.result.details))
    lines += [line for note in score.result.notes[:MAX_NOTES] for line in wrapped(note)]
    return "<br>".join(lines)


def _bar(name: str, scores: Sequence[Score], colour: str | None) -> go.Bar:
    """Return the bars of one clip, in its colour among several, else in those of the rewards."""
    alone = colour is None
    own = [style_of(score.spec.key)[0] for score in scores]
    shapes = ["/" if alone and not score.weight else "" for score in scores]
    return go.Bar(
        name=name,
        orientation="h",
        y=[score.spec.title for score in scores],
        x=[score.value for score in scores],
        text=[("" if alone else f"{name}  ") + general.score(score.value) for score in scores],
        textposition="outside",
        cliponaxis=False,
        customdata=[hover(score) for score in scores],
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": own if alone else [colour] * len(scores),
            "pattern": {"shape": shapes, "fillmode": "replace", "size": 6},
        },
    )


def _titles(clips: Sequence[tuple[str, Sequence[Score]]]) -> list[str]:
    return list(dict.fromkeys(score.spec.title for _, scores in clips for score in scores))


def wrapped(words: str) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(words, 52)]


_NOTE = {"showarrow": False, "xanchor": "left", "font": {"size": 12, "color": MUTED}, "hoverlabel": HOVER}
_POLAR = {
    "bgcolor": "rgba(0,0,0,0)",
    "radialaxis": {
        "range": [0, 1],
        "tickvals": [0.25, 0.5, 0.75, 1],
        "tickfont": {"size": 10},
        "gridcolor": FAINT,
        "linecolor": FAINT,
    },
    "angularaxis": {"gridcolor": FAINT, "linecolor": FAINT, "tickfont": {"size": 11}, "direction": "clockwise"},
}
_LEGEND = {"orientation": "h", "x": 0, "y": 1.04, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}}


def layout(height: int) -> dict[str, object]:
    return {
        "template": "none",
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 20, "pad": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": ", ".join(SANS), "size": 12, "color": MUTED},
        "xaxis": {"automargin": True},
        "yaxis": {"automargin": True},
        "hoverlabel": {**HOVER, "align": "left"},
        "showlegend": False,
    }
