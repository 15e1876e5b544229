"""The plots show the scores that they are given, and only those."""

from typing import Any

import numpy as np

from app.plots.scores import hover, matrix, radar, reward_bars, style_of, timeline
from app.views.scores import Score
from rewards import RewardResult, RewardSpec
from rewards.registry import REWARDS

QUESTION = "Does what moves go on moving as it did, or does it jump & stutter?"


def score(*, weight: float = 0.5, **changes: Any) -> Score:
    spec = {"key": "smooth", "title": "Smoothness", "question": QUESTION, "unit": "px", "low": 6.0, "high": 0.0}
    result = {"value": 0.8, "raw": 1.2, "per_frame": np.array([np.nan, 0.1, 0.9]), "notes": ("seen: a <ball>",)}
    result |= {"backend": "mini", "confidence": 0.75, "details": {"percentile": 93.0, "stretches": 4.0}}
    of_spec = {name: value for name, value in changes.items() if name in spec}
    of_result = {name: value for name, value in changes.items() if name not in spec}
    return Score(spec=RewardSpec(**{**spec, **of_spec}), result=RewardResult(**{**result, **of_result}), weight=weight)


def test_bars_have_one_row_a_reward_in_order() -> None:
    figure = reward_bars([("", [score(), score(title="Loop", value=None, reason="too short")])])
    assert list(figure.data[0].y) == ["Smoothness", "Loop"]
    assert list(figure.data[0].x) == [0.8, None]
    assert list(figure.data[0].text) == ["0.80", ""]
    assert [note.y for note in figure.layout.annotations] == ["Loop"]
    assert "too short" in figure.layout.annotations[0].hovertext


def test_clips_stand_beside_each_other() -> None:
    figure = reward_bars([("A", [score(value=0.2)]), ("B", [score(value=0.9)])])
    assert [(bar.name, bar.x[0], bar.text[0]) for bar in figure.data] == [("A", 0.2, "A  0.20"), ("B", 0.9, "B  0.90")]
    assert len({bar.marker.color[0] for bar in figure.data}) == 2


def test_nothing_scored_is_no_figure() -> None:
    assert reward_bars([]) is None and reward_bars([("A", []), ("B", [])]) is None
    assert timeline([]) is None and timeline([score(per_frame=np.array([]))]) is None


def test_the_timeline_spans_the_frames_and_has_gaps() -> None:
    figure = timeline([score(), score(title="Other", per_frame=np.array([0.5]))])
    assert [line.name for line in figure.data] == ["Smoothness", "Other"]
    assert tuple(figure.data[0].y) == (None, 0.1, 0.9)
    assert tuple(figure.layout.xaxis.range) == (0, 2)


def test_a_reward_has_one_colour_whichever_rewards_apply() -> None:
    keys = list(REWARDS)
    assert len({style_of(key) for key in keys}) == len(keys)
    assert style_of("declared_by_somebody") == style_of("declared_by_somebody")
    some, other = [score(key=keys[0]), score(key=keys[7])], [score(key=keys[3]), score(key=keys[7])]
    lines = [timeline(one).data[1].line for one in (some, other)]
    assert {(line.color, line.dash) for line in lines} == {style_of(keys[7])}
    other = [score(key=keys[3], title="Other"), score(key=keys[7])]
    assert reward_bars([("", other)]).data[0].marker.color == tuple(style_of(one.spec.key)[0] for one in other)


def test_axes_have_titles_and_hatched_bars_are_explained() -> None:
    figure = timeline([score()])
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("Frame", "Score (0 to 1)")
    assert reward_bars([("", [score()])]).layout.xaxis.title.text == "Score (0 to 1)"
    figure = reward_bars([("", [score(), score(title="Other", weight=0.0)])])
    assert figure.layout.xaxis.title.text == "Score (0 to 1); hatched: not in the total"
    assert figure.data[0].marker.pattern.shape == ("", "/")
    without = score(title="Other", weight=0.0, value=None, reason="too short")
    assert reward_bars([("", [score(), without])]).layout.xaxis.title.text == "Score (0 to 1)"


def test_hovering_says_the_question_the_measure_and_the_weight() -> None:
    words = hover(score())
    assert "jump &amp; stutter" in words.replace("<br>", " ")
    assert "Measured 1.2 px (bad 6, good 0)" in words and "weight 0.5" in words
    assert "By mini, confidence 0.75<br>percentile 93, stretches 4<br>seen: a &lt;ball&gt;" in words
    assert "not in the total" in hover(score(weight=0.0))


def test_figures_leave_text_and_ground_to_the_theme() -> None:
    for figure in (reward_bars([("", [score()])]), timeline([score()])):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_a_profile_needs_three_rewards() -> None:
    two, three = ([score(title=title) for title in titles] for titles in (("A", "B"), ("A", "B", "C")))
    assert radar([("", two)]) is None
    (trace,) = radar([("", [*three, score(title="D", value=None, reason="too short")])]).data
    assert list(trace.theta) == ["A", "B", "C", "A"] and list(trace.r) == [0.8] * 4


def test_profiles_lie_over_each_other() -> None:
    scored = [score(title=title) for title in ("A", "B", "C")]
    figure = radar([("A", scored), ("B", [score(title="A", value=0.2), *scored[1:]])])
    assert [trace.name for trace in figure.data] == ["A", "B"] and figure.data[1].r[0] == 0.2


def test_a_matrix_leaves_what_is_not_known_empty() -> None:
    figure = matrix(["A", "B"], np.array([[1.0, np.nan], [np.nan, 1.0]]))
    assert [list(line) for line in figure.data[0].z] == [[1.0, None], [None, 1.0]]
