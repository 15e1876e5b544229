"""Means with bootstrap intervals over prompts, the basis of gates, alarms and evaluations.

Clips of one prompt are not independent, so prompts are resampled (cluster bootstrap). Two sides with the same prompts
and seeds are compared pair by pair. Percentile intervals of few prompts are too narrow (a nominal 95 % covers 89 % for
8 prompts and 80 % for 4), so the percentiles are expanded to match Student's t: 94 % and 87 %. With 3 or 2 prompts no
expansion suffices (75 % and 50 %): decisions require at least `MIN_PROMPTS`.

These figures are for normal changes. Intervals of skewed changes cover less: for 1,000 samples of 4, 8, 16 and 32
exponential values 81, 91, 93 and 94 %, for log-normal values (sigma 1) 78, 85, 87 and 89 %.

source      Efron & Tibshirani 1993, ch. 13 (percentile intervals); Davison & Hinkley 1997, sec. 3.8 (clusters);
            Hesterberg, The American Statistician 69, 2015 (expanded percentiles)
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from engine.runs.results import Interval

DRAWS = 2000
MIN_STD = 0.01
"""Minimum std of a reward's change over prompts (rewards are 0..1), so that small uniform changes do not look large."""
MIN_PROMPTS = 4
Values = Sequence[float | None]


def mean_interval(values: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """Return the mean of the prompts' means. `groups` names each value's prompt; None values are ignored."""
    return _interval(_by_group([values], groups), lambda means: means[..., 0], seed)


def change_interval(before: Values, after: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """Return the mean difference `after - before` of pairs, ignoring pairs with a None."""
    pairs = _by_group([before, after], groups)
    return _interval(pairs, lambda means: means[..., 1] - means[..., 0], seed)


def ratio_interval(before: Values, after: Values, groups: Sequence[str], seed: int = 0) -> Interval:
    """Return the ratio of the means, `after / before`, of the pairs without a None."""
    pairs = _by_group([before, after], groups)
    return _interval(pairs, lambda means: means[..., 1] / np.maximum(means[..., 0], 1e-9), seed)


def joint_change_interval(
    before: Sequence[Values], after: Sequence[Values], groups: Sequence[str], seed: int = 0
) -> Interval:
    """Return the mean standardised change of several measures.

    Each change is divided by its own std over prompts (at least `MIN_STD`), so a small but steady change counts as much
    as a large one in few prompts. A measure with values for fewer than half of the prompts is ignored: its std would be
    unreliable.
    """
    changes = joint_changes(before, after, groups)
    return _interval(changes.reshape(-1, 1), lambda means: means[..., 0], seed)


def joint_changes(before: Sequence[Values], after: Sequence[Values], groups: Sequence[str]) -> np.ndarray:
    """Return the mean standardised change of each prompt, `float64[P]`; see `joint_change_interval`."""
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
    """Return the mean change of each prompt's pairs, `float64[P]`."""
    sides = _by_group([before, after], groups)
    return sides[:, 1] - sides[:, 0]


def log_ratios_by_group(before: Values, after: Values, groups: Sequence[str]) -> np.ndarray:
    """Return log(after / before) of each prompt's means, `float64[P]`.

    A tenth of the mean before is added to both, so that prompts with values near 0 have little influence.
    """
    sides = _by_group([before, after], groups)
    padded = np.maximum(sides, 0) + max(0.1 * float(sides[:, 0].mean()), 1e-9) if len(sides) else sides
    return np.asarray(np.log(padded[:, 1] / padded[:, 0]))


def bonferroni_interval(interval: Interval, num_tests: int) -> Interval:
    """Widen an interval to hold at 95 % for `num_tests` evaluations together, even dependent ones.

    Each side is scaled by the ratio of Student's quantiles at Bonferroni's level and at 0.025.
    """
    if num_tests < 2 or interval.of < 2:
        return interval
    factor = _student(0.025 / num_tests, interval.of - 1) / _student(0.025, interval.of - 1)
    low, high = (interval.mean + factor * (end - interval.mean) for end in (interval.low, interval.high))
    return interval.model_copy(update={"low": low, "high": high})


def upper_bound(values: np.ndarray, tail: float) -> float:
    """Return Student's upper bound of the mean, exceeded with probability `tail` for normal values.

    Unlike a bootstrap of few prompts, it supports any tail. Infinite for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return math.inf
    return float(values.mean() + _student(tail, count - 1) * values.std(ddof=1) / math.sqrt(count))


@cache
def _student(tail: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(tail, freedom))


def _by_group(sides: Sequence[Values], groups: Sequence[str]) -> np.ndarray:
    """Return the mean of each prompt on each side, `float64[P,S]`, over values present on all sides."""
    return np.array(list(_means_by_group(sides, groups).values())).reshape(-1, len(sides))


def _means_by_group(sides: Sequence[Values], groups: Sequence[str]) -> dict[str, np.ndarray]:
    rows_by_group: dict[str, list[tuple[float, ...]]] = {}
    for group, *row in zip(groups, *sides, strict=True):
        numbers = tuple(value for value in row if value is not None)
        if len(numbers) == len(sides):
            rows_by_group.setdefault(group, []).append(numbers)
    return {group: np.mean(rows, axis=0) for group, rows in rows_by_group.items()}


def _interval(prompts: np.ndarray, measure: Callable[[np.ndarray], np.ndarray], seed: int) -> Interval:
    """Return the bootstrap interval of a measure of the mean over prompts.

    Unbounded for fewer than two prompts.
    """
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
    """Return the tail probability cut off on each side for `count` >= 2 prompts: from 0 towards 0.025."""
    from scipy.stats import norm, t

    return float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)))


UNBOUNDED = 1e9
"""Replacement for infinity, which JSON cannot represent."""
