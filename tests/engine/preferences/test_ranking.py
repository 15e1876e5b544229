"""The ranking finds the order that is there, with intervals that hold what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.preferences.bradley_terry import Meetings, Strengths, covariance, fit, newman, refit
from engine.preferences.ranking import contests, meet, rank

FLAT = Strengths(theta=np.zeros(4), opponent=0.0, tau=0.0)


def test_two_entrants_have_the_closed_form():
    """60 wins, 20 losses and the prior's halves: theta_1 - theta_2 by hand, where there are no ties to speak of."""
    wins = np.array([[0.0, 6000.0], [2000.0, 0.0]])
    found = fit(Meetings(wins=wins, ties=np.zeros((2, 2))))
    assert found.theta[0] - found.theta[1] == pytest.approx(math.log(3), abs=0.01)
    assert found.theta.sum() == pytest.approx(0)


def test_the_tie_parameter_has_the_closed_form():
    """Equal entrants that tie in half of their meetings: e^tau = 2 T / (1 - T) with T = 1/2."""
    meetings = Meetings(wins=np.array([[0, 2500.0], [2500.0, 0]]), ties=np.array([[0, 5000.0], [5000.0, 0]]))
    assert fit(meetings).tau == pytest.approx(math.log(2), abs=0.01)


@pytest.mark.parametrize(("size", "count"), [(4, 8), (4, 400), (4, 4000)])
def test_the_librarys_fit_and_newtons_are_the_same(contests_of, size, count):
    meetings = meet(contests_of(np.linspace(-1, 1, size), count, seed=count))
    library, other = newman(meetings), refit(meetings, FLAT)
    assert library.theta == pytest.approx(other.theta, abs=1e-3) and library.tau == pytest.approx(other.tau, abs=1e-3)
    assert fit(meetings).theta == pytest.approx(other.theta, abs=1e-6)


def test_the_order_is_recovered(contests_of):
    theta = np.linspace(-1.5, 1.5, 8)
    found = rank(contests_of(theta, 3000))
    assert found.entrants == tuple(f"m{number:03d}" for number in reversed(range(8)))
    assert [one.rank for one in found.standings] == list(range(1, 9))
    assert all(
        one.rank_low <= one.rank <= one.rank_high and one.low < one.strength < one.high for one in found.standings
    )
    assert sum(one.votes for one in found.standings) == 2 * found.votes == 6000


def test_intervals_hold_the_truth_as_often_as_they_say(contests_of):
    theta = np.array([-1.0, -0.3, 0.3, 1.0])
    inside = []
    for seed in range(1000, 1030):
        found = rank(contests_of(theta, 300, seed=seed), seed=seed)
        inside += [one.low <= theta[int(one.entrant[1:])] <= one.high for one in found.standings]
    assert 0.87 <= np.mean(inside)  # of 120; 400 others gave 0.93


def test_bootstrap_and_information_give_the_same_width(contests_of):
    told = contests_of(np.linspace(-1, 1, 6), 2000)
    found, meetings = rank(told, resamples=400), meet(told)
    deviations = np.sqrt(np.diag(covariance(meetings.total, fit(meetings))))
    by_name = {one.entrant: (one.high - one.low) / 3.92 for one in found.standings}
    assert [by_name[name] for name in told.names] == pytest.approx(deviations, rel=0.2)


def test_one_who_always_wins_has_a_finite_strength(contests_of, a_vote):
    votes = [a_vote(n, (f"a{n}", "best"), (f"b{n}", "worst"), "left") for n in range(9)]
    found = rank(contests(votes))
    assert found.entrants == ("best", "worst") and all(math.isfinite(one.high) for one in found.standings)
    assert found.wins == ((0, 9), (0, 0))


def test_several_votes_on_one_pair_are_not_several_pairs(a_vote):
    """100 people on 3 pairs know less of the entrants than 300 pairs would tell."""
    few = [
        a_vote(n, (f"a{n % 3}", "x"), (f"b{n % 3}", "y"), "left" if n % 3 else "right", labeller=f"p{n}")
        for n in range(300)
    ]
    many = [a_vote(n, (f"a{n}", "x"), (f"b{n}", "y"), "left" if n % 3 else "right") for n in range(300)]
    widths = [one.standings[0].high - one.standings[0].low for one in (rank(contests(few)), rank(contests(many)))]
    assert widths[0] > 3 * widths[1]


def test_what_says_nothing_does_not_count(a_vote):
    votes = [
        a_vote(1, ("a", "x"), ("b", "y"), "left"),
        a_vote(2, ("b", "y"), ("a", "x"), "right", is_repeat=True),
        a_vote(3, ("c", "x"), ("d", "y"), "skip"),
        a_vote(4, ("e", "x"), ("f", "x"), "left"),
        a_vote(5, ("g", "y"), ("h", "x"), "both_bad"),
    ]
    found = rank(contests(votes))
    assert found.votes == 2 and found.wins == ((0, 1), (0, 0)) and found.ties == ((0, 1), (1, 0))
    assert rank(contests([])).standings == ()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=40)
)
def test_any_votes_give_a_fit_that_mirrors_when_they_are_mirrored(told):
    wins, ties = np.zeros((2, 4, 4))
    for one, step, score in told:
        other = (one + step) % 4
        if score == 0.5:
            ties[one, other] += 1
            ties[other, one] += 1
        else:
            wins[(one, other) if score else (other, one)] += 1
    found, mirrored = refit(Meetings(wins=wins, ties=ties), FLAT), refit(Meetings(wins=wins.T, ties=ties), FLAT)
    assert np.isfinite(found.theta).all() and found.theta.sum() == pytest.approx(0, abs=1e-9)
    assert mirrored.theta == pytest.approx(-found.theta, abs=1e-5)
