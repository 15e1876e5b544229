"""Agreement, bias and consistency against known values, and that a simulated bias is found."""

import pytest

from engine.labelling.stats.agreement import Proportion, agreement, krippendorff
from examples.tour.labeller import SimulatedLabeller

# Two observers, ten articles (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section A): 0.095.
FIRST, SECOND = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)


def test_alpha_is_krippendorffs_own_example():
    ratings = {f"u{n}": {"a": float(a), "b": float(b)} for n, (a, b) in enumerate(zip(FIRST, SECOND, strict=True))}
    assert krippendorff(ratings) == pytest.approx(0.095, abs=5e-4)


def test_alpha_by_hand_with_a_third_person_and_gaps():
    """Units (1,1,1), (0,0), (0,1): 1 - (n-1) sum_u D_u / sum of expected, all by hand.

    Observed disagreement 2/7 (the third unit's two values), expected 2*4*3/(7*6) = 4/7: alpha = 1/2.
    """
    ratings = {
        "u": {"a": 1.0, "b": 1.0, "c": 1.0},
        "v": {"a": 0.0, "b": 0.0},
        "w": {"a": 0.0, "b": 1.0},
        "x": {"a": 1.0},
    }
    assert krippendorff(ratings) == pytest.approx(0.5)


def test_alpha_is_not_made_up_where_there_is_none():
    assert krippendorff({}) is None
    assert krippendorff({"u": {"a": 1.0}, "v": {"b": 0.0}}) is None
    assert krippendorff({"u": {"a": 1.0, "b": 1.0}}) is None  # everybody always said the same: nothing to agree on


def test_the_wilson_interval_is_the_published_one():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    low, high = Proportion(hits=81, count=263).interval
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert Proportion(hits=0, count=0).value is None and Proportion(hits=0, count=0).interval == (0.0, 1.0)


def test_agreement_is_of_clips_not_of_sides(a_vote):
    one, other = ("a", "x"), ("b", "y")
    votes = [
        a_vote(1, one, other, "left", labeller="ann", pair="p"),
        a_vote(2, other, one, "right", labeller="bob", pair="p"),
        a_vote(3, ("c", "x"), ("d", "y"), "right", labeller="ann", pair="q"),
        a_vote(4, ("d", "y"), ("c", "x"), "left", labeller="bob", pair="q"),
    ]
    found = agreement(votes)
    assert found.alpha == pytest.approx(1.0) and found.pairs == 2
    assert [(one.with_others.hits, one.with_others.count) for one in found.labellers] == [(2, 2), (2, 2)]


def test_axes_have_an_alpha_of_their_own(a_vote):
    votes = [
        a_vote(
            n,
            (f"a{n // 2}", "x"),
            (f"b{n // 2}", "y"),
            "left",
            labeller="ann" if n % 2 else "bob",
            axes={"motion": said},
        )
        for n, said in enumerate(["left", "left", "right", "right"])
    ]
    found = agreement(votes)
    assert found.axes == {"motion": pytest.approx(1.0)} and found.alpha is None


def test_repeats_measure_consistency_and_nothing_else(a_vote):
    votes = []
    for n, (first, again) in enumerate([("left", "right"), ("left", "left"), ("tie", "tie"), ("left", "skip")]):
        one, other = (f"a{n}", "x"), (f"b{n}", "y")
        votes.append(a_vote(2 * n, one, other, first, pair=f"p{n}"))
        votes.append(a_vote(2 * n + 1, other, one, again, pair=f"p{n}", is_repeat=True))
    (ann,) = agreement(votes).labellers
    assert (ann.consistent.hits, ann.consistent.count) == (2, 3)  # the same clip, the other clip, a tie twice
    assert ann.skips == 1


def simulate(a_vote, labeller: SimulatedLabeller, count: int) -> list:
    """A labeller on pairs with every third clearly different, random sides and every tenth repeated."""
    votes = []
    for n in range(count):
        scores = {f"a{n}": 0.2 if n % 3 == 0 else 0.5, f"b{n}": 0.9 if n % 3 == 0 else 0.5}
        sides = (f"a{n}", f"b{n}") if n * 7 % 11 < 5 else (f"b{n}", f"a{n}")
        for again in range(1 + (n % 10 == 0)):
            left, right = sides[::-1] if again else sides
            choice = labeller.choose(scores[left], scores[right], f"{n} {left} left")
            shown = (left, left[0]), (right, right[0])
            votes.append(
                a_vote(2 * n + again, *shown, choice, labeller=labeller.name, pair=f"p{n}", is_repeat=bool(again))
            )
    return votes


def test_a_simulated_bias_is_detected_and_its_absence_is_not(a_vote):
    fair, biased = SimulatedLabeller(name="fair"), SimulatedLabeller(name="biased", left_bias=1.0)
    found = agreement(simulate(a_vote, fair, 300) + simulate(a_vote, biased, 300))
    one, other = found.labellers
    assert (one.labeller, one.is_biased) == ("biased", True) and one.left.value > 0.6
    assert (other.labeller, other.is_biased) == ("fair", False)
    assert other.consistent.count == 30 and 0.3 < other.consistent.value < 0.95


def test_careful_people_agree_more_than_careless_ones(a_vote):
    careful = [
        vote for seed in (1, 2) for vote in simulate(a_vote, SimulatedLabeller(name=f"c{seed}", noise=0.05), 200)
    ]
    careless = [
        vote for seed in (1, 2) for vote in simulate(a_vote, SimulatedLabeller(name=f"d{seed}", noise=3.0), 200)
    ]
    one, other = agreement(careful), agreement(careless)
    assert one.alpha is not None and other.alpha is not None
    assert one.alpha > other.alpha + 0.1 and one.low < one.alpha < one.high
