"""VBench's scores as measures of a run's evaluation. Imports no torch."""

from collections.abc import Mapping

from engine.errors import ConfigError
from engine.runs.results import Evaluation, Interval, Measure
from engine.runs.vbench import VBenchScore, prompt_of
from engine.training.evaluation.intervals import UNBOUNDED, change_interval, mean_interval, ratio_interval

PREFIX = "vbench/"


def add_scores(
    evaluation: Evaluation, before: Mapping[str, VBenchScore], after: Mapping[str, VBenchScore]
) -> Evaluation:
    """Return the evaluation with a measure "vbench/DIMENSION" for each dimension of both sides.

    Raises ConfigError when there is none.
    """
    shared = [name for name in after if name in before]
    if not shared:
        raise ConfigError(
            f"The results have no dimension in common: {', '.join(before) or 'none'} before and "
            f"{', '.join(after) or 'none'} after training."
        )
    kept = tuple(measure for measure in evaluation.measures if not measure.name.startswith(PREFIX))
    found = tuple(_measure(name, before[name], after[name]) for name in shared)
    return evaluation.model_copy(update={"measures": (*kept, *found)})


def _measure(dimension: str, before: VBenchScore, after: VBenchScore) -> Measure:
    names = sorted(before.videos.keys() & after.videos.keys())
    groups = [prompt_of(name) for name in names]
    first, second = ([side.videos[name] for name in names] for side in (before, after))
    if names:
        intervals = {
            "before": mean_interval(first, groups),
            "after": mean_interval(second, groups),
            "change": change_interval(first, second, groups),
            "ratio": ratio_interval(first, second, groups),
        }
    else:
        intervals = {
            "before": _without_bounds(before.score),
            "after": _without_bounds(after.score),
            "change": _without_bounds(after.score - before.score),
            "ratio": _without_bounds(after.score / max(before.score, 1e-9)),
        }
    return Measure(name=f"{PREFIX}{dimension}", role="held_out", wanted="up", unit="VBench score", **intervals)


def _without_bounds(mean: float) -> Interval:
    return Interval(mean=mean, low=-UNBOUNDED, high=UNBOUNDED, of=1)
