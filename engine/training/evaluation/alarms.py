"""Alarms for reward over-optimisation: pure functions from observations of the policy to alarms.

An `Observation` measures clips of fixed prompts and seeds, made by the current policy; the first one is of the model
before training. Clips are compared pairwise, so few of them suffice. The judge is not used.

An alarm requires a mean beyond its limit and a significant test. A run has many observations of many measures, so each
test gets a part of the run's probability of a false alarm (`false_alarms`): it is divided equally among the planned
observations (alpha spending at a constant rate, Lan & DeMets 1983), and within an observation among the measures
(Bonferroni). This holds for any dependence between observations and rewards, which is unknown, since the prompts and
seeds are always the same. The tests are Student's, over prompts.

Few prompts have little power at such levels. `suspected` tests without the correction; after a suspicion the caller
observes as many further prompts and calls `detect_alarms` with all of them. An alarm still requires a significant test
of all prompts, so this optional second stage does not increase the probability of a false alarm.

source      over-optimisation shows as a proxy that rises while what it stands for falls: Gao et al., arXiv:2210.10760;
            a static clip maximises every stability reward, so motion has a floor of its own
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.config.alarm_settings import AlarmSettings
from engine.runs.results import Alarm
from engine.training.evaluation.intervals import (
    MIN_PROMPTS,
    change_interval,
    changes_by_group,
    joint_change_interval,
    joint_changes,
    log_ratios_by_group,
    mean_interval,
    ratio_interval,
    upper_bound,
)

REWARD, HELD_OUT, MOTION, DIVERSITY, DRIFT = "reward", "held_out/", "motion", "diversity", "drift"
DIVERGENCE = "divergence"
Column = tuple[float | None, ...]
MIN_BASE_MEAN = 1e-3
"""Motion or diversity, in their own units, below which the base has none to lose."""
PLANNED_OBSERVATIONS = 20
"""Default number of planned observations of a run."""
UNCORRECTED = 0.025
"""One-sided significance level of a suspicion."""
PARTS = {HELD_OUT: 2, MOTION: 1, DIVERSITY: 1, DIVERGENCE: 1}
"""Weights that divide the false-alarm probability; the held-out rewards share the first."""
AlphaOf = Callable[[str], float]
"""Significance level of the test of a column, or of `DIVERGENCE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Measurements at `step`: `columns` by name, one value a clip; `prompts` names each clip's prompt.

    Columns: "reward" (what is trained on), "held_out/<reward>" and "diversity" in 0..1, "motion" in px of 256 a
    second, "drift" >= 0.
    """

    step: int
    prompts: tuple[str, ...]
    columns: Mapping[str, Column]

    def joined(self, other: "Observation") -> "Observation":
        """Both as one observation, of the columns that both have."""
        columns = {name: column + other.columns[name] for name, column in self.columns.items() if name in other.columns}
        return Observation(step=self.step, prompts=self.prompts + other.prompts, columns=columns)


def detect_alarms(
    observations: Sequence[Observation], settings: AlarmSettings, planned: int = PLANNED_OBSERVATIONS
) -> list[Alarm]:
    """Return the alarms of the last observation against the first; none for fewer than two observations.

    `planned` is the number of observations after the first that the run will have had at its end.
    """
    if len(observations) < 2:
        return []
    base, now = observations[0], observations[-1]
    return _find_alarms(
        base, now, settings, _corrected(base, now, settings.false_alarms / max(planned, len(observations) - 1))
    )


def suspected(base: Observation, now: Observation, settings: AlarmSettings) -> bool:
    """Return whether a test without the correction for repeated observations finds an alarm."""
    return any(alarm.name != DRIFT for alarm in _find_alarms(base, now, settings, lambda _: UNCORRECTED))


def _find_alarms(base: Observation, now: Observation, settings: AlarmSettings, alpha_of: AlphaOf) -> list[Alarm]:
    alarms = [
        *_held_out_drops(base, now, settings, alpha_of),
        *_motion_or_diversity_losses(base, now, settings, alpha_of),
        *_policy_drift(now, settings),
    ]
    return [*alarms, *_reward_divergence(base, now, settings, alpha_of)]


def _corrected(base: Observation, now: Observation, chance: float) -> AlphaOf:
    """Divide an observation's `chance` of a false alarm among what is watched."""
    held_out = [name for name in now.columns if name.startswith(HELD_OUT) and name in base.columns]
    watched = {
        HELD_OUT: bool(held_out),
        MOTION: True,
        DIVERSITY: True,
        DIVERGENCE: bool(held_out) and REWARD in now.columns,
    }
    whole = sum(part for name, part in PARTS.items() if watched[name])

    def alpha(name: str) -> float:
        if name.startswith(HELD_OUT):
            return chance * PARTS[HELD_OUT] / whole / len(held_out)
        return chance * PARTS[name] / whole

    return alpha


def _held_out_drops(base: Observation, now: Observation, settings: AlarmSettings, alpha_of: AlphaOf) -> Iterator[Alarm]:
    for name in (name for name in now.columns if name.startswith(HELD_OUT) and name in base.columns):
        fall = changes_by_group(base.columns[name], now.columns[name], now.prompts)
        if len(fall) < MIN_PROMPTS or fall.mean() >= -settings.held_out or upper_bound(fall, alpha_of(name)) >= 0:
            continue
        change = change_interval(base.columns[name], now.columns[name], now.prompts)
        reward = name.removeprefix(HELD_OUT)
        yield Alarm(
            step=now.step,
            name=name,
            sentence=f"'{reward}', which is not trained on, fell by {-change.mean:.3f} "
            f"(95 %: {-change.high:.3f} to {-change.low:.3f}): what the training rewards is bought with it.",
            value=change.mean,
            limit=-settings.held_out,
        )


def _motion_or_diversity_losses(
    base: Observation, now: Observation, settings: AlarmSettings, alpha_of: AlphaOf
) -> Iterator[Alarm]:
    what = {
        MOTION: (settings.motion, "of the base's motion is left: standing still may be what earns the reward"),
        DIVERSITY: (settings.diversity, "of the base's variety within a prompt is left: the clips become one clip"),
    }
    for name, (limit, meaning) in what.items():
        sides = base.columns[name], now.columns[name], now.prompts
        if not sum(value or 0.0 for value in base.columns[name]) > MIN_BASE_MEAN * len(base.prompts):
            continue
        lost = log_ratios_by_group(*sides)
        if len(lost) < MIN_PROMPTS or upper_bound(lost, alpha_of(name)) >= 0:
            continue
        left = ratio_interval(*sides)
        if left.mean < limit:
            yield Alarm(
                step=now.step, name=name, sentence=f"Only {left.mean:.0%} {meaning}.", value=left.mean, limit=limit
            )


def _policy_drift(now: Observation, settings: AlarmSettings) -> Iterator[Alarm]:
    drift = mean_interval(now.columns[DRIFT], now.prompts)
    if drift.of and drift.mean > settings.drift:
        yield Alarm(
            step=now.step,
            name=DRIFT,
            sentence=f"The predictions are {drift.mean:.2f} of their own size away from the base model's: raise beta, "
            "or lower the learning rate.",
            value=drift.mean,
            limit=settings.drift,
        )


def _reward_divergence(
    base: Observation, now: Observation, settings: AlarmSettings, alpha_of: AlphaOf
) -> Iterator[Alarm]:
    """The trained reward surely up while those that are not trained on are surely down together."""
    names = [name for name in now.columns if name.startswith(HELD_OUT) and name in base.columns]
    if REWARD not in now.columns or not names:
        return
    before, after = ([one.columns[name] for name in names] for one in (base, now))
    together = joint_changes(before, after, now.prompts)
    if len(together) < MIN_PROMPTS or together.mean() >= -settings.divergence:
        return
    risen = -changes_by_group(base.columns[REWARD], now.columns[REWARD], now.prompts)
    if upper_bound(together, alpha_of(DIVERGENCE)) < 0 and upper_bound(risen, UNCORRECTED) < 0:
        rise = change_interval(base.columns[REWARD], now.columns[REWARD], now.prompts)
        others = joint_change_interval(before, after, now.prompts)
        yield Alarm(
            step=now.step,
            name=DIVERGENCE,
            sentence=f"The trained reward rose by {rise.mean:.3f} while those that are not trained on fell together by "
            f"{-others.mean:.2f} of their spread (95 %: {-others.high:.2f} to {-others.low:.2f}): they come apart.",
            value=others.mean,
            limit=-settings.divergence,
        )
