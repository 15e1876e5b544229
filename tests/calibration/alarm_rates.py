"""How often the alarms of a run are false, and how often they find what is there, by simulation.

    python tests/calibration/alarm_rates.py --runs 1000

Nothing is trained: base and looks are drawn, `detect_alarms` and `suspected` are asked as the watchdog asks them. The
value of a clip is its prompt's, plus the prompt's change since the base, plus the clip's own noise, new in each look.
Changes and noise at different looks have the correlation that the situation says; skewed ones are exponential, with
their long side downwards.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.config.alarm_settings import AlarmSettings
from engine.training.evaluation.alarms import DIVERSITY, DRIFT, MOTION, REWARD, Observation, detect_alarms, suspected

REWARDS, RISE, LOOKS, TAKES = 9, 0.05, 12, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`spread` is the sd of a reward's change over prompts, and of its clips within a prompt; `log_speed` likewise of
    the logarithm of speed and of variety. True effects: `motion` and `variety` are the shares that are left, `fall` is
    what every held-out reward loses, in sds of its change over prompts."""

    spread: float
    log_speed: float
    correlation: float
    skewed: bool = False
    prompts: int = 8
    motion: float = 1.0
    variety: float = 1.0
    fall: float = 0.0


HONEST = {
    f"sd {spread:g}, log speed sd {speed:g}, {told}": Situation(
        spread=spread, log_speed=speed, correlation=correlation, skewed=skewed
    )
    for spread, speed in ((0.03, 0.09), (0.06, 0.09), (0.03, 0.2), (0.06, 0.2))
    for told, correlation, skewed in (
        ("looks 0.8 alike", 0.8, False),
        ("independent", 0.0, False),
        ("skewed", 0.8, True),
    )
}
TRUE = {
    f"{what}, sd {spread:g}, log speed sd {speed:g}": replace(
        Situation(spread=spread, log_speed=speed, correlation=0.8), **effect
    )
    for spread, speed in ((0.03, 0.09), (0.06, 0.2))
    for what, effect in (
        ("motion 90 %", {"motion": 0.9}),
        ("motion 50 %", {"motion": 0.5}),
        ("variety 40 %", {"variety": 0.4}),
        ("divergence 0.3", {"fall": 0.3}),
        ("divergence 1", {"fall": 1.0}),
    )
}


class Simulated:
    """One run: `base` and `look()` after `look()`, each of two sets of prompts."""

    def __init__(self, of: Situation, seed: int) -> None:
        self._of, self._rng = of, np.random.default_rng(seed)
        size = (2, of.prompts, REWARDS + 3)
        self._level = self._rng.normal(0.5, 0.15, size)
        self._lasting = self._noise(size), self._noise((*size, TAKES))
        self.base = self._looks(0, None, self._noise((*size, TAKES)))

    def look(self, step: int) -> tuple[Observation, Observation]:
        share, (change, noise) = self._of.correlation, self._lasting
        mixed = (np.sqrt(share) * old + np.sqrt(1 - share) * self._noise(old.shape) for old in (change, noise))
        return self._looks(step, next(mixed), next(mixed))

    def _noise(self, size: tuple[int, ...]) -> np.ndarray:
        return 1 - self._rng.exponential(size=size) if self._of.skewed else self._rng.standard_normal(size)

    def _looks(self, step: int, change: np.ndarray | None, noise: np.ndarray) -> tuple[Observation, Observation]:
        of = self._of
        scale = np.array([of.spread] * (REWARDS + 1) + [of.log_speed] * 2)
        effect = np.array([-of.fall * of.spread * np.sqrt(2)] * REWARDS + [RISE, np.log(of.motion), np.log(of.variety)])
        values = self._level[..., None] + (scale[:, None] * noise)
        if change is not None:
            values = values + (scale * change + effect)[..., None]
        one, two = (self._as_look(step, half, number) for number, half in enumerate(values))
        return one, two

    def _as_look(self, step: int, values: np.ndarray, half: int) -> Observation:
        """`values[P,columns,takes]`."""
        prompts = tuple(f"{half} {prompt}" for prompt in range(len(values)) for _ in range(TAKES))
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        columns = {f"held_out/r{number}": tuple(row.tolist()) for number, row in enumerate(flat[:REWARDS])}
        columns |= {REWARD: tuple(flat[-3].tolist()), DRIFT: (0.0,) * len(prompts)}
        columns |= {name: tuple(np.exp(row).tolist()) for name, row in ((MOTION, flat[-2]), (DIVERSITY, flat[-1]))}
        return Observation(step=step, prompts=prompts, columns=columns)


def raised(of: Situation, seed: int, looks: int = LOOKS, *, closer: bool) -> Iterator[set[str]]:
    """The names of the alarms of each look; `closer`: as the watchdog has it, with a closer look where one is due."""
    run, settings = Simulated(of, seed), AlarmSettings()
    for number in range(1, looks + 1):
        base, (now, more) = run.base[0], run.look(number)
        if closer and not suspected(base, now, settings):
            yield set()
            continue
        if closer:
            base, now = base.joined(run.base[1]), now.joined(more)
        yield {alarm.name for alarm in detect_alarms([base, now], settings, looks)}


def rates(of: Situation, runs: int, *, closer: bool, seed: int = 0, looks: int = LOOKS) -> dict[str, float]:
    """The shares of runs with any alarm and with each kind, and of looks with any."""
    kinds: Counter[str] = Counter()
    with_any = looks_with = 0
    for number in range(runs):
        found = list(raised(of, seed + number, looks, closer=closer))
        ever = set().union(*found)
        kinds.update({name.split("/")[0] for name in ever})
        with_any += bool(ever)
        looks_with += sum(bool(one) for one in found)
    shares = {name: round(count / runs, 4) for name, count in sorted(kinds.items())}
    return {"any": with_any / runs, "look": looks_with / runs / looks, **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    for what, situations in (("honest", HONEST), ("true", TRUE)):
        for name, of in situations.items():
            for closer in (False, True):
                found = rates(of, options.runs, closer=closer)
                line = {"runs": what, "of": name, "closer_look": closer, "looks": LOOKS, **found}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
