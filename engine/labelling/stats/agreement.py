"""How far votes can be trusted: agreement between people, bias to a side, consistency with oneself, haste.

Everything is said of clips, not of sides: a vote for the clip that happened to be on the left is a vote for that clip.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from engine.labelling.votes import SCORES, Choice, StoredVote

Z = 1.959964  # of a 95 % interval
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """`hits` of `count`, with the 95 % Wilson interval of the share, which is None where there is nothing to count."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        return self.hits / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float]:
        """0..1; all of it where there is nothing to count."""
        return wilson(self.hits, self.count)

    def excludes(self, share: float) -> bool:
        low, high = self.interval
        return not low <= share <= high


def wilson(hits: float, count: int) -> tuple[float, float]:
    """Ends of the 95 % Wilson interval of a share, 0..1; half hits make it rather too wide than too narrow."""
    if not count:
        return 0.0, 1.0
    share, spread = hits / count, Z * Z / count
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerQuality:
    """One labeller. `left`: votes for the left clip among those for a clip; unbiased is 1/2, since sides are random.
    `consistent`: swapped repeats that got the same answer. `with_others`: votes like the majority of the others on the
    same pair. `ties`: votes without a preference, among all that say something. `median_ms`: time a vote took."""

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
        """Whether chance is an unlikely reason for the side's share (95 %)."""
        return self.left.excludes(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """All labellers. `alpha` is Krippendorff's, ordinal over (one clip, tie, the other), with its bootstrap interval;
    None where no pair has two votes. `axes` has the alpha of each axis of the rubric. 1 is perfect, 0 is chance."""

    alpha: float | None
    low: float | None
    high: float | None
    pairs: int
    axes: dict[str, float | None]
    left: Proportion
    consistent: Proportion
    labellers: tuple[LabellerQuality, ...]


def agreement(votes: Iterable[StoredVote], *, seed: int = 0) -> Agreement:
    """Everything about the votes' quality; skips count as skips only."""
    told = list(votes)
    table = _ratings(told)
    low, high = _interval(table, seed)
    people = sorted({one.vote.labeller for one in told})
    majority = _Majorities(told)
    axes = sorted({axis for one in told for axis in one.vote.axes})
    return Agreement(
        alpha=krippendorff(table),
        low=low,
        high=high,
        pairs=sum(len(ratings) > 1 for ratings in table.values()),
        axes={axis: krippendorff(_ratings(told, axis)) for axis in axes},
        left=_left(told),
        consistent=_consistent(told),
        labellers=tuple(
            _quality(name, [one for one in told if one.vote.labeller == name], majority) for name in people
        ),
    )


Ratings = dict[str, dict[str, float]]
"""By pair, by labeller: 1 for the clip whose id is the smaller, 0 for the other, 1/2 for neither."""


def krippendorff(ratings: Ratings) -> float | None:
    """Krippendorff's alpha, ordinal, by evalica; None where no pair has two ratings or all ratings are the same."""
    frame = _frame(ratings)
    if frame is None:
        return None
    import evalica

    found = evalica.alpha(frame, distance="ordinal")
    return float(found.alpha) if found.expected > 0 else None


def _interval(ratings: Ratings, seed: int) -> tuple[float | None, float | None]:
    frame = _frame(ratings)
    if frame is None:
        return None, None
    import evalica

    found = evalica.alpha_bootstrap(frame, distance="ordinal", n_resamples=RESAMPLES, random_state=seed)
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def _frame(ratings: Ratings) -> object | None:
    """Labellers by pairs that have two ratings, as evalica wants it; None where it could compute nothing."""
    shared = {pair: by for pair, by in ratings.items() if len(by) > 1}
    if len({rating for by in shared.values() for rating in by.values()}) < 2:
        return None
    import pandas

    return pandas.DataFrame.from_dict(shared)


def _ratings(votes: Iterable[StoredVote], axis: str | None = None) -> Ratings:
    found: Ratings = defaultdict(dict)
    for one in votes:
        choice = one.said(axis)
        if choice is not None and choice in SCORES and not one.is_repeat:
            found[one.vote.pair_id][one.vote.labeller] = _of_clip(one, choice)
    return dict(found)


def _of_clip(one: StoredVote, choice: Choice) -> float:
    """What a choice says of the pair's clip with the smaller id, wherever it was shown."""
    return SCORES[choice] if one.left_clip < one.right_clip else 1 - SCORES[choice]


def _left(votes: Iterable[StoredVote]) -> Proportion:
    sides = Counter(one.vote.choice for one in votes if one.winner)
    return Proportion(hits=sides["left"], count=sides["left"] + sides["right"])


def _consistent(votes: Iterable[StoredVote]) -> Proportion:
    """Repeats against the first answer; a pair with a skip on either side is left out."""
    told = [one for one in votes if one.vote.choice in SCORES]
    first = {(one.vote.labeller, one.vote.pair_id): one for one in told if not one.is_repeat}
    both = [(first.get((one.vote.labeller, one.vote.pair_id)), one) for one in told if one.is_repeat]
    same = [_of_clip(one, one.vote.choice) == _of_clip(two, two.vote.choice) for one, two in both if one is not None]
    return Proportion(hits=sum(same), count=len(same))


class _Majorities:
    """What most people said of each pair; built once, asked for each labeller."""

    def __init__(self, votes: Iterable[StoredVote]) -> None:
        self._ratings = _ratings(votes)

    def shared_with(self, labeller: str) -> Proportion:
        """The labeller's votes that the majority of the others shares; pairs without one (nobody, a draw) are out."""
        judged = [
            (by[labeller], answer)
            for by in self._ratings.values()
            if labeller in by and (answer := _majority([v for name, v in by.items() if name != labeller])) is not None
        ]
        return Proportion(hits=sum(mine == theirs for mine, theirs in judged), count=len(judged))


def _majority(ratings: Sequence[float]) -> float | None:
    most = Counter(ratings).most_common(2)
    if not most or (len(most) > 1 and most[0][1] == most[1][1]):
        return None
    return most[0][0]


def _quality(name: str, votes: Sequence[StoredVote], majority: _Majorities) -> LabellerQuality:
    times = [one.vote.ms for one in votes if one.vote.ms is not None]
    told = [one for one in votes if one.vote.choice in SCORES]
    return LabellerQuality(
        labeller=name,
        votes=len(told),
        skips=len(votes) - len(told),
        left=_left(votes),
        consistent=_consistent(votes),
        with_others=majority.shared_with(name),
        ties=Proportion(hits=sum(one.winner is None for one in told), count=len(told)),
        median_ms=float(median(times)) if times else None,
    )
