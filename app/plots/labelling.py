"""The plots of a campaign's results: strengths with their intervals, who beat whom, and rewards against people."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.plots.scores import MUTED, SERIES, layout, squares, wrapped
from app.text import labelling as text
from app.views.campaign_ranking import TOTAL
from app.views.scores import spec_of

if TYPE_CHECKING:
    from engine.labelling.stats.ranking import Ranking
    from engine.labelling.stats.reward_agreement import RewardAgreement

ROW_PX, CHROME_PX, TITLES_PX = 34, 56, 26
_BELOW = {"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "xanchor": "right", "x": 1}
INK = "#9c9a94"  # of an interval over a bar, on either ground


def strengths(ranking: "Ranking") -> go.Figure | None:
    """A dot an entrant, its interval as a line, the best on top; None when nobody has met."""
    shown = ranking.standings
    if not shown:
        return None
    reach = {
        "array": [one.high - one.strength for one in shown],
        "arrayminus": [one.strength - one.low for one in shown],
        "symmetric": False,
        "thickness": 2,
        "width": 5,
        "color": SERIES[0],
    }
    told = [
        f"{'<br>'.join(wrapped(one.entrant))}<br>{one.strength:+.2f} ({one.low:+.2f} to {one.high:+.2f})<br>place "
        f"{one.rank} ({one.rank_low} to {one.rank_high}), {one.votes:,} votes, won {one.win_rate:.0%}"
        for one in shown
    ]
    dots = go.Scatter(
        x=[one.strength for one in shown],
        y=[_name(one.entrant) for one in shown],
        error_x=reach,
        mode="markers",
        marker={"size": 10, "color": SERIES[0]},
        customdata=told,
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure = go.Figure(dots)
    figure.update_layout(**layout(ROW_PX * len(shown) + CHROME_PX))
    figure.update_xaxes(fixedrange=True, zeroline=True, zerolinecolor=MUTED, tickformat="+.1f")
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, ticksuffix="  ")
    return figure


def win_matrix(ranking: "Ranking") -> go.Figure | None:
    """The row's share of votes against the column; the number of votes where one points at it."""
    names = [_name(entrant) for entrant in ranking.entrants]
    if len(names) < 2:
        return None
    size = range(len(names))
    met = [[ranking.wins[i][j] + ranking.wins[j][i] + ranking.ties[i][j] for j in size] for i in size]
    shares = [
        [(ranking.wins[i][j] + ranking.ties[i][j] / 2) / met[i][j] if met[i][j] else None for j in size] for i in size
    ]
    told = "%{y} against %{x}: %{z:.0%} of %{customdata:,} votes"
    return squares(names, shares, low=0, number="%{z:.0%}", hover=told, more=met)


def reward_bars(agreeing: Sequence["RewardAgreement"]) -> go.Figure | None:
    """A row a reward: how often it orders a pair as people did, with its interval, a line at chance; and beside it
    Kendall's tau, over pairs and over the ranking."""
    shown = [one for one in agreeing if one.accuracy is not None]
    if not shown:
        return None
    titles = (text.ACCURACY, text.TAU)
    figure = make_subplots(
        1, 2, shared_yaxes=True, column_widths=[0.6, 0.4], horizontal_spacing=0.1, subplot_titles=titles
    )
    figure.add_trace(_accuracies(shown), 1, 1)
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
    colours = [SERIES[0] if (one.accuracy or 0.0) >= 0.5 else SERIES[1] for one in shown]
    return go.Bar(
        orientation="h",
        y=[_title(one.reward) for one in shown],
        x=[one.accuracy for one in shown],
        error_x=_reach(shown),
        customdata=[_told(one) for one in shown],
        hovertemplate="%{customdata}<extra></extra>",
        marker={"color": colours},
        showlegend=False,
    )


def _dots(shown: Sequence["RewardAgreement"], measure: str) -> go.Scatter:
    symbol, colour = {"tau": ("circle", SERIES[1]), "ranking_tau": ("diamond-open", SERIES[3])}[measure]
    return go.Scatter(
        mode="markers",
        y=[_title(one.reward) for one in shown],
        x=[getattr(one, measure) for one in shown],
        marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
        customdata=[_told(one) for one in shown],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _reach(shown: Sequence["RewardAgreement"]) -> dict[str, Any]:
    """The accuracies' intervals, as lengths from the bar's end."""
    ends = [(one.accuracy or 0.0, *one.interval) for one in shown]
    return {
        "array": [max(0.0, high - value) for value, _, high in ends],
        "arrayminus": [max(0.0, value - low) for value, low, _ in ends],
        "symmetric": False,
        "thickness": 1.5,
        "width": 5,
        "color": INK,
    }


def _told(one: "RewardAgreement") -> str:
    tau = "–" if one.tau is None else f"{one.tau:+.2f}"
    places = "–" if one.ranking_tau is None else f"{one.ranking_tau:+.2f}"
    return (
        f"{_title(one.reward)}<br>{one.accuracy:.0%} of {one.counted.count:,} pairs as people<br>"
        f"Kendall's tau over pairs {tau}, over the ranking {places}"
    )


def _title(reward: str) -> str:
    return text.MIX_TOTAL if reward == TOTAL else spec_of(reward).title


def _name(entrant: str) -> str:
    """Plotly reads a label as a kind of HTML."""
    return html.escape(entrant)
