"""The plots of a campaign's results: strengths with their intervals, who beat whom, and rewards against people."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from app.figures import MUTED, SERIES, layout, squares, wrapped

if TYPE_CHECKING:
    from engine.preferences.against_rewards import RewardAgreement
    from engine.preferences.ranking import Ranking

ROW_PX, CHROME_PX = 34, 56
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
    """A bar a reward: how often it orders a pair as people did, with its interval; a line stands at chance."""
    shown = [one for one in agreeing if one.accuracy is not None]
    if not shown:
        return None
    bars = go.Bar(
        orientation="h",
        y=[_title(one.reward) for one in shown],
        x=[one.accuracy for one in shown],
        error_x=_reach(shown),
        customdata=[_told(one) for one in shown],
        hovertemplate="%{customdata}<extra></extra>",
        marker={
            "color": [SERIES[0] if one.accuracy >= 0.5 else SERIES[1] for one in shown if one.accuracy is not None]
        },
    )
    figure = go.Figure(bars)
    figure.add_vline(x=0.5, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(**layout(ROW_PX * len(shown) + CHROME_PX), bargap=0.35)
    figure.update_xaxes(range=[0, 1.02], tickformat=".0%", fixedrange=True, zeroline=False)
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False, ticksuffix="  ")
    return figure


def _reach(shown: Sequence["RewardAgreement"]) -> dict[str, Any]:
    """The Wilson intervals, as lengths from the bar's end; none where ties of the reward were counted as halves."""
    ends = [
        (one.accuracy or 0.0, *(one.counted.interval if one.accuracy == one.counted.value else (None, None)))
        for one in shown
    ]
    return {
        "array": [0.0 if high is None else max(0.0, high - value) for value, _, high in ends],
        "arrayminus": [0.0 if low is None else max(0.0, value - low) for value, low, _ in ends],
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
    return reward.replace("_", " ").capitalize()


def _name(entrant: str) -> str:
    """Plotly reads a label as a kind of HTML."""
    return html.escape(entrant)
