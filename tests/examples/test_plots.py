"""Plots as SVG: points where they belong, ends written out, nothing that a page could take for markup."""

import re
from xml.etree import ElementTree

import pytest

from examples.tour.plots import BOTTOM, HEIGHT, LEFT, RIGHT, SPAN_WIDTH, TOP, WIDTH, curves, interval


def places(figure: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'points="([^"]*)"', figure)
    return [[tuple(map(float, place.split(","))) for place in line.split()] for line in found]  # type: ignore[misc]


def test_a_curve_spans_its_plot_and_says_its_ends() -> None:
    figure = curves("reward", {"a": [(0, 1.0), (5, 3.0), (10, 2.0)]})
    floor = HEIGHT - BOTTOM
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert places(figure) == [[(LEFT, floor), (middle, TOP), (WIDTH - RIGHT, (floor + TOP) / 2)]]
    assert re.findall(r"<text[^>]*>([^<]*)<", figure) == ["3", "1", "0", "10"]


def test_several_curves_share_their_axes_and_have_a_legend() -> None:
    figure = curves("r", {"low": [(0, 0.0), (1, 0.0)], "high": [(0, 1.0), (2, 1.0)]}, source="here")
    low, high = places(figure)
    assert low[0][1] == HEIGHT - BOTTOM and high[0][1] == TOP
    assert low[1][0] < high[1][0] == WIDTH - RIGHT
    assert "low" in figure and 'data-source="here"' in figure


@pytest.mark.parametrize("points", [[(3, 0.5)], [(0, 0.5), (1, 0.5)]])
def test_a_flat_curve_and_a_single_point_stay_inside(points: list[tuple[float, float]]) -> None:
    (line,) = places(curves("flat", {"a": points}))
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in line)


def test_names_are_no_markup() -> None:
    hostile = '<script>"&'
    ElementTree.fromstring(curves(hostile, {hostile: [(0, 1)], "b": [(0, 1)]}, source=hostile).replace("<br>", "<br/>"))


def test_an_interval_lies_on_its_scale_and_is_cut_off_at_its_ends() -> None:
    drawing = interval(0.5, -2.0, 1.0, (-1.0, 1.0), verdict="better")
    left, right = map(float, re.search(r'whole" d="M([\d.]+) [\d.]+H([\d.]+)"', drawing).groups())  # type: ignore[union-attr]
    assert (left, right) == (4, SPAN_WIDTH - 4)
    assert f"M{SPAN_WIDTH / 2:.1f} 0V" in drawing, "a mark at 0"
    assert 'class="span better"' in drawing
    assert "axis" not in interval(2.0, 1.5, 2.5, (1.0, 3.0)), "no mark where the scale does not hold 0"
