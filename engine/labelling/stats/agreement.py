"""Reliability of votes: agreement between labellers, side bias, self-consistency, time per vote.

Except for the side bias, choices are compared by clip, not by side.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from engine.labelling.votes import SCORES, Choice, StoredVote

if TYPE_CHECKING:
    import pandas

Z = 1.959964  # normal quantile of a 95 % interval
RESAMPLES = 1000
MANY_PAIRS = 10_000  # from here a tenth of the resamples: each takes 10 ms or more, and the interval is narrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """`hits` out of `count`, with the share (None for a count of 0) and its 95 % Wilson interval."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        return self.hits / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval, 0..1; (0, 1) for a count of 0."""
        return wilson(self.hits, self.count)

    def excludes(self, share: float) -> bool:
        """Return whether the share is outside the interval."""
        low, high = self.interval
        return not low <= share <= high


def wilson(hits: float, count: int) -> tuple[float, float]:
    """Return the ends of the 95 % Wilson interval of a share, 0..1. Half hits make it conservative."""
    if not count:
        return 0.0, 1.0
    share, spread = hits / count, Z * Z / count
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerQuality:
    """Reliability of one labeller.

    `left` is the share of votes for the left clip among votes for a clip; without bias it is 1/2, since sides are
    random. `consistent` is the share of swapped repeats with the same answer. `with_others` is the share of votes that
    match the majority of the other labellers on the pair. `ties` is the share of votes without a preference, skips
    excluded. `median_ms` is the median time per vote, in ms.
    """

    labeller: str
    votes: int
    skips: int
    left: Proportion
    consistent: Proportion
    with_others: Proportion
    ties: Proportion
    median_ms: float | None

    @property
    def is_biased(self) -> bool:
        """True if the share of left votes differs from 1/2 at the 95 % level."""
        return self.left.excludes(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Reliability of all labellers.

    `alpha` is Krippendorff's alpha, ordinal over (one clip, tie, the other clip), with its bootstrap interval; 1 is
    perfect agreement, 0 is chance, None means that no pair has two votes. `axes` has the alpha of each axis of the
    rubric. `pairs` counts the pairs with two votes or more.
    """

    alpha: float | None
    low: float | None
    high: float | None
    pairs: int
    axes: dict[str, float | None]
    left: Proportion
    consistent: Proportion
    labellers: tuple[LabellerQuality, ...]


def agreement(votes: Iterable[StoredVote], *, seed: int = 0) -> Agreement:
    """Compute the reliability of votes. Skips count only as `skips`."""
    votes = list(votes)
    table = _ratings(votes)
    low, high = alpha_interval(table, seed)
    by_labeller: dict[str, list[StoredVote]] = defaultdict(list)
    for vote in votes:
        by_labeller[vote.vote.labeller].append(vote)
    with_others, none = _with_others(table), Proportion(hits=0, count=0)
    axes = sorted({axis for vote in votes for axis in vote.vote.axes})
    return Agreement(
        alpha=krippendorff(table),
        low=low,
        high=high,
        pairs=sum(len(ratings) > 1 for ratings in table.values()),
        axes={axis: krippendorff(_ratings(votes, axis)) for axis in axes},
        left=_left(votes),
        consistent=_consistent(votes),
        labellers=tuple(_quality(name, own, with_others.get(name, none)) for name, own in sorted(by_labeller.items())),
    )


Ratings = dict[str, dict[str, float]]
"""Ratings by pair and labeller: 1 for the clip with the smaller id, 0 for the other clip, 1/2 for a tie."""


def krippendorff(ratings: Ratings) -> float | None:
    """Return Krippendorff's ordinal alpha; None if no pair has two ratings or all ratings are equal."""
    frame = _frame(ratings)
    if frame is None:
        return None
    import evalica

    result = evalica.alpha(frame, distance="ordinal")
    return float(result.alpha) if result.expected > 0 else None


def alpha_interval(ratings: Ratings, seed: int = 0) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % bootstrap interval of alpha; None where it is undefined."""
    frame = _frame(ratings)
    if frame is None:
        return None, None
    import evalica

    resamples = RESAMPLES if frame.shape[1] < MANY_PAIRS else RESAMPLES // 10
    result = evalica.alpha_bootstrap(frame, distance="ordinal", n_resamples=resamples, random_state=seed)
    low, high = float(result.low), float(result.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def _frame(ratings: Ratings) -> "pandas.DataFrame | None":
    """Return evalica's data frame, labellers by pairs with two ratings or more.

    None if alpha is undefined.
    """
    shared = {pair: by_labeller for pair, by_labeller in ratings.items() if len(by_labeller) > 1}
    if len({rating for by_labeller in shared.values() for rating in by_labeller.values()}) < 2:
        return None
    import pandas

    return pandas.DataFrame.from_dict(shared)


def _ratings(votes: Iterable[StoredVote], axis: str | None = None) -> Ratings:
    ratings: Ratings = defaultdict(dict)
    for vote in votes:
        choice = vote.choice_on(axis)
        if choice is not None and choice in SCORES and not vote.is_repeat:
            ratings[vote.vote.pair_id][vote.vote.labeller] = _rating(vote, choice)
    return dict(ratings)


def _rating(vote: StoredVote, choice: Choice) -> float:
    """Return the score of the pair's clip with the smaller id, on either side."""
    return SCORES[choice] if vote.left_clip < vote.right_clip else 1 - SCORES[choice]


def _left(votes: Iterable[StoredVote]) -> Proportion:
    sides = Counter(vote.vote.choice for vote in votes if vote.winner)
    return Proportion(hits=sides["left"], count=sides["left"] + sides["right"])


def _consistent(votes: Iterable[StoredVote]) -> Proportion:
    """Compare repeats with the first answers. Pairs with a skip among the two are left out."""
    rated = [vote for vote in votes if vote.vote.choice in SCORES]
    firsts = {(vote.vote.labeller, vote.vote.pair_id): vote for vote in rated if not vote.is_repeat}
    both = [(firsts.get((vote.vote.labeller, vote.vote.pair_id)), vote) for vote in rated if vote.is_repeat]
    same = [
        _rating(first, first.vote.choice) == _rating(repeat, repeat.vote.choice)
        for first, repeat in both
        if first is not None
    ]
    return Proportion(hits=sum(same), count=len(same))


def _with_others(table: Ratings) -> dict[str, Proportion]:
    """Return, by labeller, the share of their votes that match the majority of the others.

    Pairs without a majority of the others (no other votes, or a draw) are left out.
    """
    hits: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for by_labeller in table.values():
        ratings = Counter(by_labeller.values())
        majorities = {own: _majority(ratings - Counter([own])) for own in ratings}
        for name, own in by_labeller.items():
            hits[name] += own == majorities[own]
            counts[name] += majorities[own] is not None
    return {name: Proportion(hits=hits[name], count=count) for name, count in counts.items()}


def _majority(ratings: Counter[float]) -> float | None:
    most = ratings.most_common(2)
    if not most or (len(most) > 1 and most[0][1] == most[1][1]):
        return None
    return most[0][0]


def _quality(name: str, votes: Sequence[StoredVote], with_others: Proportion) -> LabellerQuality:
    times = [vote.vote.ms for vote in votes if vote.vote.ms is not None]
    rated = [vote for vote in votes if vote.vote.choice in SCORES]
    return LabellerQuality(
        labeller=name,
        votes=len(rated),
        skips=len(votes) - len(rated),
        left=_left(votes),
        consistent=_consistent(votes),
        with_others=with_others,
        ties=Proportion(hits=sum(vote.winner is None for vote in rated), count=len(rated)),
        median_ms=float(median(times)) if times else None,
    )
