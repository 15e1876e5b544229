"""Means with bootstrap intervals over prompts: what gates, alarms and evaluations decide by.

Clips of one prompt are no independent witnesses, so whole prompts are drawn anew (a cluster bootstrap). Two sides that
share prompts and seeds are compared pair by pair. Percentiles of few prompts are too narrow (of 8, what is called 95 %
holds in 89 % of cases; of 4, in 80 %), so they are taken further out, as far as Student's t would go: 94 % and 87 %.
No draw of 3 or 2 prompts goes far enough (75 % and 50 %): whoever acts by an interval asks for `MIN_PROMPTS`.

That is of normal changes. Intervals of skewed ones, which a few prompts make large, cover less: for 1,000 samples of
4, 8, 16 and 32 exponential values 81, 91, 93 and 94 %, for log-normal ones (sigma 1) 78, 85, 87 and 89 %.

source      Efron & Tibshirani 1993, ch. 13 (percentile intervals); Davison & Hinkley 1997, sec. 3.8 (clusters);
            Hesterberg, The American Statistician 69, 2015 (expanded percentiles)
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy import stats

from engine.runs.results import Interval

DRAWS = 2000
MIN_STD = 0.01
"""The least that the spread of a reward's change over prompts counts as, of 0..1: changes that are small and alike
everywhere would look large by it."""
MIN_PROMPTS = 4
Values = Sequence[float | None]


def mean_interval(values: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """The mean of the prompts' means. `groups` names the prompt of each value; a None is left out."""
    return _interval(_by_group([values], groups), lambda means: means[..., 0], seed)


def change_interval(before: Values, after: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """The mean difference `after - before` of pairs; where either is None, the pair is left out."""
    pairs = _by_group([before, after], groups)
    return _interval(pairs, lambda means: means[..., 1] - means[..., 0], seed)


def ratio_interval(before: Values, after: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """The ratio of the means, `after / before`, of the pairs that have both."""
    pairs = _by_group([before, after], groups)
    return _interval(pairs, lambda means: means[..., 1] / np.maximum(means[..., 0], 1e-9), seed)


def joint_change_interval(
    before: Sequence[Values], after: Sequence[Values], groups: Sequence[str], seed: int = 0
) -> Interval:
    """How several measures change together: the mean of their changes, each in standard deviations of itself over
    prompts, so that a small but steady change counts as much as a large one that is seen in few prompts.

    A deviation counts as `MIN_STD` at least. A measure that half of the prompts have not is left out: so few say
    little of its spread.
    """
    changes = joint_changes(before, after, groups)
    return _interval(changes.reshape(-1, 1), lambda means: means[..., 0], seed)


def joint_changes(before: Sequence[Values], after: Sequence[Values], groups: Sequence[str]) -> np.ndarray:
    """`float64[P]`: what `joint_change_interval` takes the mean of, for each prompt."""
    scaled: dict[str, list[float]] = {}
    least = max(2.0, len(set(groups)) / 2)
    for sides in zip(before, after, strict=True):
        means = _means_by_group(sides, groups)
        if len(means) < least:
            continue
        changes = {group: float(second - first) for group, (first, second) in means.items()}
        spread = max(float(np.std(list(changes.values()), ddof=1)), MIN_STD)
        for group, change in changes.items():
            scaled.setdefault(group, []).append(change / spread)
    return np.array([np.mean(changes) for changes in scaled.values()])


def changes_by_group(before: Values, after: Values, groups: Sequence[str]) -> np.ndarray:
    """`float64[P]`: the mean change of each prompt's pairs."""
    sides = _by_group([before, after], groups)
    return sides[:, 1] - sides[:, 0]


def log_ratios_by_group(before: Values, after: Values, groups: Sequence[str]) -> np.ndarray:
    """`float64[P]`: log(after / before) of each prompt's means. A tenth of the mean before is added to both, so that a
    prompt that has next to nothing of it counts little."""
    sides = _by_group([before, after], groups)
    padded = np.maximum(sides, 0) + max(0.1 * float(sides[:, 0].mean()), 1e-9) if len(sides) else sides
    return np.asarray(np.log(padded[:, 1] / padded[:, 0]))


def bonferroni_interval(interval: Interval, looks: int) -> Interval:
    """The interval that holds with 95 % in all of so many looks together, however they depend on each other.

    Each side is as much longer as Student's quantile is with Bonferroni's level.
    """
    if looks < 2 or interval.of < 2:
        return interval
    longer = _student(0.025 / looks, interval.of - 1) / _student(0.025, interval.of - 1)
    low, high = (interval.mean + longer * (end - interval.mean) for end in (interval.low, interval.high))
    return interval.model_copy(update={"low": low, "high": high})


def upper_bound(values: np.ndarray, tail: float) -> float:
    """Student's upper bound of the mean: a mean of normal values is above it with probability `tail`. Unlike a
    bootstrap of few prompts, it goes as far out as is asked for. Infinite for fewer than two values."""
    count = len(values)
    if count < 2:
        return math.inf
    return float(values.mean() + _student(tail, count - 1) * values.std(ddof=1) / math.sqrt(count))


@cache
def _student(tail: float, freedom: int) -> float:
    return float(stats.t.isf(tail, freedom))


def _by_group(sides: Sequence[Values], groups: Sequence[str]) -> np.ndarray:
    """`float64[P,S]`: the mean of each prompt on each side, over what is known on all sides."""
    return np.array(list(_means_by_group(sides, groups).values())).reshape(-1, len(sides))


def _means_by_group(sides: Sequence[Values], groups: Sequence[str]) -> dict[str, np.ndarray]:
    known: dict[str, list[tuple[float, ...]]] = {}
    for group, *row in zip(groups, *sides, strict=True):
        numbers = tuple(value for value in row if value is not None)
        if len(numbers) == len(sides):
            known.setdefault(group, []).append(numbers)
    return {group: np.mean(rows, axis=0) for group, rows in known.items()}


def _interval(prompts: np.ndarray, measure: Callable[[np.ndarray], np.ndarray], seed: int) -> Interval:
    """The measure of the mean over prompts. One prompt tells nothing of the others: its interval is boundless."""
    count = len(prompts)
    if count == 0:
        return Interval(mean=0.0, low=-UNBOUNDED, high=UNBOUNDED, of=0)
    mean = float(measure(prompts.mean(axis=0)))
    if count == 1:
        return Interval(mean=mean, low=-UNBOUNDED, high=UNBOUNDED, of=1)
    draws = np.random.default_rng(seed).integers(count, size=(DRAWS, count))
    tail = tail_of(count)
    low, high = np.quantile(measure(prompts[draws].mean(axis=1)), [tail, 1 - tail])
    return Interval(mean=mean, low=float(low), high=float(high), of=count)


@cache
def tail_of(count: int) -> float:
    """The share of the draws that is cut off on each side, for `count` >= 2 prompts: from 0 towards 0.025."""
    return float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1)))


UNBOUNDED = 1e9
"""Stands for infinity, which JSON does not know."""
