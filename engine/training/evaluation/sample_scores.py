"""Scores of a run's samples: every reward, trained or held out, and the metrics of every evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.training.evaluation.evaluate import MONITORED, MONITORS, scored_mix
from rewards.clip import Clip
from rewards.mix import RewardReport, combine
from rewards.suite import RewardSuite

SAMPLES, HELD_OUT, MONITOR = "samples/", "samples/held_out/", "monitor/"
TOTAL = "total"


class SampleScores:
    """Score clips by a preset's own mix and its watched mix; without either there are no scores.

    A clip's total is that of the preset's own mix, which is trained on, if there is one.
    """

    def __init__(self, preset: TrainPreset) -> None:
        self._own = load_preset("rewards", preset.mix) if preset.mix else None
        self._mix = scored_mix(preset) if preset.mix or preset.watch else None
        self._suite: RewardSuite | None = None

    def reports(self, clips: Sequence[Clip]) -> list[RewardReport]:
        """Return one report a clip; an empty list without a mix."""
        if self._mix is None:
            return []
        if self._suite is None:
            self._suite = RewardSuite(self._mix, monitored=MONITORED)
        return [self._by_own_mix(report) for report in self._suite.score_many(list(clips))]

    def _by_own_mix(self, report: RewardReport) -> RewardReport:
        if self._own is None:
            return report
        parts = {key: report.parts[key] for key, weight in self._own.weights.items() if weight > 0}
        found = combine(parts, self._own.weights, report.gates, self._own.gates, report.missing)
        return replace(report, mix=self._own.key, total=found.value, weights=found.weights, notes=found.notes)

    def means(self, reports: Sequence[RewardReport]) -> dict[str, float]:
        """Return the means of the rewards (over the clips that they apply to), the total and the monitors."""
        values: dict[str, list[float]] = {}
        for report in reports:
            for name, value in self._named(report):
                if value is not None:
                    values.setdefault(name, []).append(value)
        return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}

    def _named(self, report: RewardReport) -> Iterator[tuple[str, float | None]]:
        trained = self._own.weights if self._own is not None else {}
        counted = self._mix.weights if self._mix is not None else {}
        for key, value in report.parts.items():
            if counted.get(key):
                yield f"{SAMPLES if trained.get(key) else HELD_OUT}{key}", value
        yield f"{HELD_OUT if self._own is None else SAMPLES}{TOTAL}", report.total
        for name, monitor in MONITORS.items():
            result = report.results.get(monitor.reward)
            yield f"{MONITOR}{name}", monitor.read(result) if result is not None else None
