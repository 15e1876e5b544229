"""Is the reward being earned honestly? Pure functions from what was looked at to the alarms that follow.

A look (`Look`) is the same clips, by prompt and seed, as the policy makes them now; the first look is at the model
before training. What is compared is clip with clip, so a small look says much. Nothing here knows the judge.

source      over-optimisation shows as a proxy that rises while what it stands for falls: Gao et al., arXiv:2210.10760;
            a static clip maximises every stability reward, so motion has a floor of its own
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.config.alarms import AlarmSettings
from engine.data.findings import Alarm, Interval
from engine.training.intervals import (
    LEAST_PROMPTS,
    change_interval,
    joint_change_interval,
    mean_interval,
    ratio_interval,
)

REWARD, HELD_OUT, MOTION, DIVERSITY, DRIFT = "reward", "held_out/", "motion", "diversity", "drift"
Column = tuple[float | None, ...]
NOTHING = 1e-3
"""Motion and variety of a base that has none, in their own units: there is no share of it to lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was measured at `step`: `columns` by name, one value a clip; `prompts` names the prompt of each clip.

    Columns: "reward" (what is trained on), "held_out/<reward>" and "diversity" in 0..1, "motion" in px of 256 a
    second, "drift" >= 0.
    """

    step: int
    prompts: tuple[str, ...]
    columns: Mapping[str, Column]


def alarms_of(looks: Sequence[Look], settings: AlarmSettings) -> list[Alarm]:
    """What the last look gives reason for, against the first; none for fewer than two looks."""
    if len(looks) < 2:
        return []
    base, now = looks[0], looks[-1]
    found = [*_fallen(base, now, settings), *_lost(base, now, settings), *_strayed(now, settings)]
    return [*found, *_diverged(base, now, settings)]


def changes(base: Look, now: Look, prefix: str = "") -> dict[str, Interval]:
    """The change of each column since the first look."""
    return {
        name: change_interval(base.columns[name], column, now.prompts)
        for name, column in now.columns.items()
        if name in base.columns and name.startswith(prefix)
    }


def _fallen(base: Look, now: Look, settings: AlarmSettings) -> Iterator[Alarm]:
    for name, change in changes(base, now, HELD_OUT).items():
        if change.of >= LEAST_PROMPTS and change.mean < -settings.held_out and change.high < 0:
            reward = name.removeprefix(HELD_OUT)
            yield Alarm(
                step=now.step,
                name=name,
                sentence=f"'{reward}', which is not trained on, fell by {-change.mean:.3f} "
                f"(95 %: {-change.high:.3f} to {-change.low:.3f}): what the training rewards is bought with it.",
                value=change.mean,
                limit=-settings.held_out,
            )


def _lost(base: Look, now: Look, settings: AlarmSettings) -> Iterator[Alarm]:
    what = {
        MOTION: (settings.motion, "of the base's motion is left: standing still may be what earns the reward"),
        DIVERSITY: (settings.diversity, "of the base's variety within a prompt is left: the clips become one clip"),
    }
    for name, (limit, meaning) in what.items():
        if not mean_interval(base.columns[name], base.prompts).mean > NOTHING:
            continue
        left = ratio_interval(base.columns[name], now.columns[name], now.prompts)
        if left.of >= LEAST_PROMPTS and left.mean < limit and left.high < 1:
            yield Alarm(
                step=now.step, name=name, sentence=f"Only {left.mean:.0%} {meaning}.", value=left.mean, limit=limit
            )


def _strayed(now: Look, settings: AlarmSettings) -> Iterator[Alarm]:
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


def _diverged(base: Look, now: Look, settings: AlarmSettings) -> Iterator[Alarm]:
    """The trained reward surely up while those that are not trained on are surely down together."""
    if REWARD not in now.columns:
        return
    rise = change_interval(base.columns[REWARD], now.columns[REWARD], now.prompts)
    names = [name for name in now.columns if name.startswith(HELD_OUT) and name in base.columns]
    before, after = ([look.columns[name] for name in names] for look in (base, now))
    others = joint_change_interval(before, after, now.prompts)
    if others.of >= LEAST_PROMPTS and rise.low > 0 and others.high < 0 and others.mean < -settings.divergence:
        yield Alarm(
            step=now.step,
            name="divergence",
            sentence=f"The trained reward rose by {rise.mean:.3f} while those that are not trained on fell together by "
            f"{-others.mean:.2f} of their spread (95 %: {-others.high:.2f} to {-others.low:.2f}): they come apart.",
            value=others.mean,
            limit=-settings.divergence,
        )
