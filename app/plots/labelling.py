"""Plots of a campaign's results: strengths with intervals, win rates, and reward-human agreement."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.plots.scores import MUTED, SERIES, TITLE_PX, axis_title, layout, squares, wrapped
from app.text import labelling as text
from app.views.campaign_ranking import TOTAL
from app.views.scores import spec_of

if TYPE_CHECKING:
    from engine.labelling.stats.ranking import Ranking
    from engine.labelling.stats.reward_agreement import RewardAgreement

ROW_PX, CHROME_PX, TITLES_PX = 34, 56, 26
_BELOW = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "xanchor": "right", "x": 1}
INK = "#9c9a94"  # colour of an interval over a bar, in both themes


def strengths(ranking: "Ranking") -> go.Figure | None:
    """Plot the strength of each entrant with its interval, best on top; None if no entrants were compared."""
    standings = ranking.standings
    if not standings:
        return None
    error_bars = {
        "array": [entry.high - entry.strength for entry in standings],
        "arrayminus": [entry.strength - entry.low for entry in standings],
        "symmetric": False,
        "thickness": 2,
        "width": 5,
        "color": SERIES[0],
    }
    hover_texts = [
        f"{'<br>'.join(wrapped(entry.entrant))}<br>{entry.strength:+.2f} ({entry.low:+.2f} to {entry.high:+.2f})<br>"
        f"rank {entry.rank} ({entry.rank_low} to {entry.rank_high}), {entry.votes:,} votes, won {entry.win_rate:.0%}"
        for entry in standings
    ]
    dots = go.Scatter(
        x=[entry.strength for entry in standings],
        y=[_name(entry.entrant) for entry in standings],
        error_x=error_bars,
        mode="markers",
        marker={"size": 10, "color": SERIES[0]},
        customdata=hover_texts,
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure = go.Figure(dots)
    figure.update_layout(**layout(ROW_PX * len(standings) + CHROME_PX + TITLE_PX))
    figure.update_xaxes(fixedrange=True, zeroline=True, zerolinecolor=MUTED, tickformat="+.1f")
    figure.update_xaxes(title=axis_title(text.STRENGTH_AXIS))
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, ticksuffix="  ")
    return figure


def win_matrix(ranking: "Ranking") -> go.Figure | None:
    """Plot the row's share of votes against the column; the hover text has the number of votes."""
    names = [_name(entrant) for entrant in ranking.entrants]
    if len(names) < 2:
        return None
    size = range(len(names))
    met_counts = [[ranking.wins[i][j] + ranking.wins[j][i] + ranking.ties[i][j] for j in size] for i in size]
    shares = [
        [(ranking.wins[i][j] + ranking.ties[i][j] / 2) / met_counts[i][j] if met_counts[i][j] else None for j in size]
        for i in size
    ]
    hover = "%{y} against %{x}: %{z:.0%} of %{customdata:,} votes"
    return squares(names, shares, low=0, number="%{z:.0%}", hover=hover, more=met_counts)


def reward_bars(agreeing: Sequence["RewardAgreement"]) -> go.Figure | None:
    """Plot for each reward the share of pairs that it orders as people do, and Kendall's tau.

    The share has its interval and a line at chance; tau is over pairs and over the ranking.
    """
    shown = [reward for reward in agreeing if reward.accuracy is not None]
    if not shown:
        return None
    titles = (text.ACCURACY, text.TAU)
    figure = make_subplots(
        1, 2, shared_yaxes=True, column_widths=[0.6, 0.4], horizontal_spacing=0.1, subplot_titles=titles
    )
    figure.add_trace(_accuracies(shown), 1, 1)
    for name, colour in zip(text.CHANCE, SERIES, strict=False):
        square = {"symbol": "square", "size": 10, "color": colour}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=square), 1, 1)
    for name, marks in (("tau", _dots(shown, "tau")), ("ranking", _dots(shown, "ranking_tau"))):
        figure.add_trace(marks.update(name=text.TAUS[name]), 1, 2)
    for chance, column in ((0.5, 1), (0, 2)):
        figure.add_vline(x=chance, line={"color": MUTED, "width": 1, "dash": "dot"}, row=1, col=column)
    figure.update_layout(**layout(ROW_PX * len(shown) + CHROME_PX + TITLES_PX), bargap=0.35)
    figure.update_layout(margin_t=TITLES_PX, margin_b=CHROME_PX, showlegend=True, legend=_BELOW)
    figure.update_annotations(font={"size": 12, "color": MUTED})
    figure.update_xaxes(fixedrange=True, zeroline=False)
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%", tickvals=[0, 0.5, 1], row=1, col=1)
    figure.update_xaxes(range=[-1.08, 1.08], tickvals=[-1, 0, 1], row=1, col=2)
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, ticksuffix="  ")
    return figure


def _accuracies(shown: Sequence["RewardAgreement"]) -> go.Bar:
    colours = [SERIES[0] if (reward.accuracy or 0.0) >= 0.5 else SERIES[1] for reward in shown]
    return go.Bar(
        orientation="h",
        y=[_title(reward.reward) for reward in shown],
        x=[reward.accuracy for reward in shown],
        error_x=_reach(shown),
        customdata=[_hover_text(reward) for reward in shown],
        hovertemplate="%{customdata}<extra></extra>",
        marker={"color": colours},
        showlegend=False,
    )


def _dots(shown: Sequence["RewardAgreement"], measure: str) -> go.Scatter:
    symbol, colour = {"tau": ("circle", SERIES[1]), "ranking_tau": ("diamond-open", SERIES[3])}[measure]
    return go.Scatter(
        mode="markers",
        y=[_title(reward.reward) for reward in shown],
        x=[getattr(reward, measure) for reward in shown],
        marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
        customdata=[_hover_text(reward) for reward in shown],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _reach(shown: Sequence["RewardAgreement"]) -> dict[str, Any]:
    """Return the intervals of the accuracies, as lengths from the bar's end."""
    ends = [(reward.accuracy or 0.0, *reward.interval) for reward in shown]
    return {
        "array": [max(0.0, high - value) for value, _, high in ends],
        "arrayminus": [max(0.0, value - low) for value, low, _ in ends],
        "symmetric": False,
        "thickness": 1.5,
        "width": 5,
        "color": INK,
    }


def _hover_text(agreement: "RewardAgreement") -> str:
    tau = "–" if agreement.tau is None else f"{agreement.tau:+.2f}"
    ranking_tau = "–" if agreement.ranking_tau is None else f"{agreement.ranking_tau:+.2f}"
    return (
        f"{_title(agreement.reward)}<br>{agreement.accuracy:.0%} of {agreement.counted.count:,} pairs as people<br>"
        f"Kendall's tau over pairs {tau}, over the ranking {ranking_tau}"
    )


def _title(reward: str) -> str:
    return text.MIX_TOTAL if reward == TOTAL else spec_of(reward).title


def _name(entrant: str) -> str:
    """Escape a label: Plotly interprets a subset of HTML."""
    return html.escape(entrant)
