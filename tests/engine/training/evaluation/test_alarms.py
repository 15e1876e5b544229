"""Intervals that do not take clips of one prompt for witnesses of their own, and alarms that follow from them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.alarm_settings import AlarmSettings
from engine.training.evaluation.alarms import Observation, detect_alarms, suspected
from engine.training.evaluation.intervals import (
    MIN_STD,
    change_interval,
    joint_change_interval,
    mean_interval,
    ratio_interval,
    tail_of,
)

sys.path.append(str(Path(__file__).resolve().parents[3] / "calibration"))
import alarm_rates

PROMPTS = tuple(f"prompt {number // 2}" for number in range(16))


def noisy(mean: float, spread: float = 0.02, seed: int = 0) -> tuple[float, ...]:
    return tuple(float(mean + spread * z) for z in np.random.default_rng(seed).standard_normal(len(PROMPTS)))


def look(step: int = 0, **columns: Any) -> Observation:
    whole = {"motion": noisy(0.8), "diversity": noisy(0.2, 0.01), "drift": noisy(0.0, 0.0), **columns}
    return Observation(
        step=step, prompts=PROMPTS, columns={name.replace("__", "/"): value for name, value in whole.items()}
    )


def names(*looks: Observation, planned: int = 20, **settings: Any) -> list[str]:
    return [alarm.name for alarm in detect_alarms(looks, AlarmSettings(**settings), planned)]


@pytest.mark.parametrize(("count", "least"), [(4, 0.84), (8, 0.92), (20, 0.925)])
def test_an_interval_is_of_prompts_and_covers_what_it_should(count: int, least: float) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(600):
        prompts = [str(number // 4) for number in range(4 * count)]
        values = list(np.repeat(rng.normal(0.5, 0.1, count), 4) + rng.normal(0, 0.05, 4 * count))
        found = mean_interval(values, prompts, seed)
        covered += found.low <= 0.5 <= found.high
        assert found.of == count
    assert least <= covered / 600 <= 0.97


@pytest.mark.parametrize(("count", "least"), [(4, 0.76), (8, 0.87), (32, 0.91)])
def test_an_interval_of_skewed_changes_covers_what_its_documentation_says(count: int, least: float) -> None:
    """Exponential values: the documented 81, 91 and 94 %, less what 600 samples may miss."""
    rng, prompts = np.random.default_rng(1), [str(number) for number in range(count)]
    found = [mean_interval(rng.exponential(size=count).tolist(), prompts, seed) for seed in range(600)]
    assert least <= sum(one.low <= 1 <= one.high for one in found) / 600 <= 0.97


def test_the_share_that_is_cut_off_is_the_normal_one_of_many_prompts() -> None:
    assert [round(tail_of(count), 4) for count in (5, 10, 20)] == [0.001, 0.0086, 0.0159]
    assert tail_of(10_000) == pytest.approx(0.025, abs=1e-4)


def test_pairs_make_a_change_sharper_than_its_sides() -> None:
    before = [0.1 * (number % 8) for number in range(16)]
    after: list[float | None] = [value + 0.05 for value in before]
    found = change_interval(before, after, [str(n) for n in range(16)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))
    assert ratio_interval(before, after, [str(n) for n in range(16)]).mean == pytest.approx(0.4 / 0.35)
    after[0] = None
    assert change_interval(before, after, [str(n) for n in range(16)]).of == 15


def test_nothing_measured_or_one_prompt_is_boundless() -> None:
    assert mean_interval([None, None], ["a", "b"]).of == 0
    one = mean_interval([0.5, 0.7], ["a", "a"])
    assert (one.mean, one.of) == (pytest.approx(0.6), 1)
    assert one.low < -1e6 < 1e6 < one.high


def test_a_sound_run_raises_nothing() -> None:
    base = look(held_out__x=noisy(0.5), reward=noisy(0.3))
    now = look(10, held_out__x=noisy(0.52, seed=1), reward=noisy(0.5, seed=2), motion=noisy(0.79, seed=3))
    assert names(base, now) == []
    assert names(base) == []


@pytest.mark.parametrize(
    ("changed", "alarm"),
    [
        ({"held_out__x": noisy(0.3, seed=1)}, "held_out/x"),
        ({"motion": noisy(0.2, seed=1)}, "motion"),
        ({"diversity": noisy(0.02, 0.001, seed=1)}, "diversity"),
        ({"drift": noisy(0.9)}, "drift"),
    ],
)
def test_each_way_of_cheating_has_its_alarm(changed: dict[str, Any], alarm: str) -> None:
    base = look(held_out__x=noisy(0.5))
    found = detect_alarms([base, look(30, **{"held_out__x": noisy(0.5, seed=2), **changed})], AlarmSettings())
    assert [one.name for one in found] == [alarm]
    assert found[0].step == 30
    assert found[0].sentence.endswith(".")


@pytest.mark.parametrize("name", ["motion", "diversity"])
def test_a_base_that_has_none_cannot_lose_it(name: str) -> None:
    none = {name: (0.0,) * len(PROMPTS)}
    assert names(look(**none), look(30, **none)) == []
    assert names(look(), look(30, **none)) == [name]


def test_measures_change_together_each_by_its_own_measure() -> None:
    """One falls little but everywhere, one much but in one prompt, one is unknown; the first is what counts."""
    groups = [f"prompt {number}" for number in range(8)]
    steady = [0.5 - 0.03 - 0.002 * number for number in range(8)]
    single = [0.5] * 7 + [0.1]
    before = [[0.5] * 8, [0.5] * 8, [None] * 8]
    found = joint_change_interval(before, [steady, [0.5] * 8, [None] * 8], groups)
    spread = max(float(np.std([0.002 * number for number in range(8)], ddof=1)), MIN_STD)
    assert found.mean == pytest.approx(-0.037 / spread / 2) and found.high < 0 and found.of == 8
    assert joint_change_interval(before, [[0.5] * 8, single, [None] * 8], groups).high == 0
    assert joint_change_interval([], [], groups).of == 0


def test_reward_up_and_the_others_down_diverge() -> None:
    base = look(reward=noisy(0.3), held_out__x=noisy(0.5), held_out__y=noisy(0.5))
    apart = look(5, reward=noisy(0.6, seed=1), held_out__x=noisy(0.46, seed=2), held_out__y=noisy(0.47, seed=3))
    assert names(base, apart, planned=1) == ["divergence"]
    small = look(5, reward=noisy(0.6, seed=1), held_out__x=noisy(0.499, seed=2), held_out__y=noisy(0.5, seed=3))
    assert names(base, small) == [], "smaller than the noise"
    both_up = look(5, reward=noisy(0.6, seed=1), held_out__x=noisy(0.56, seed=2), held_out__y=noisy(0.5, seed=3))
    assert names(base, both_up) == []


HONEST = [one for name, one in alarm_rates.HONEST.items() if "looks 0.8" in name or "independent" in name]


@pytest.mark.parametrize("closer", [False, True])
def test_an_honest_run_of_twelve_looks_has_false_alarms_in_one_of_twenty_at_most(closer: bool) -> None:
    """M5: 47 % of runs with looks that are 0.8 alike, 92 % with independent looks. Over all situations together; the
    figure of each is what `python tests/calibration/alarm_rates.py` prints."""
    runs = 25
    found = [alarm_rates.rates(one, runs, closer=closer, seed=1000 * n)["any"] for n, one in enumerate(HONEST)]
    assert np.mean(found) <= 0.05, found


@pytest.mark.parametrize("effect", ["motion 50 %", "variety 40 %", "divergence 1"])
def test_true_changes_are_still_found(effect: str) -> None:
    of = next(one for name, one in alarm_rates.TRUE.items() if name.startswith(effect))
    assert alarm_rates.rates(of, 20, closer=True)["any"] >= 0.95


def test_small_true_changes_are_found_in_half_of_the_runs() -> None:
    """A tenth of the motion, and 0.3 deviations of all that is held out, with the closer look that finds them."""
    for effect in ("motion 90 %", "divergence 0.3"):
        of = next(one for name, one in alarm_rates.TRUE.items() if name.startswith(effect))
        assert alarm_rates.rates(of, 30, closer=True)["any"] >= 0.4, effect


def test_more_looks_and_more_rewards_ask_for_more_evidence() -> None:
    rng = np.random.default_rng(0)
    fall = tuple((0.5 - 0.08 + 0.05 * rng.standard_normal(len(PROMPTS))).tolist())
    base, now = look(held_out__x=(0.5,) * len(PROMPTS)), look(30, held_out__x=fall)
    assert [one.name for one in detect_alarms([base, now], AlarmSettings(), 1)] == ["held_out/x"]
    assert detect_alarms([base, now], AlarmSettings(), 1000) == []
    many = {f"held_out__y{number}": (0.5,) * len(PROMPTS) for number in range(1000)}
    base, now = look(held_out__x=(0.5,) * len(PROMPTS), **many), look(30, held_out__x=fall, **many)
    assert detect_alarms([base, now], AlarmSettings(), 1) == []
    assert suspected(base, now, AlarmSettings())


@given(seed=st.integers(0, 2**31), spread=st.floats(0.01, 0.3))
def test_noise_alone_seldom_alarms_and_never_without_its_limit(seed: int, spread: float) -> None:
    """A fall smaller than the limit never alarms, however sure it is; a rise never."""
    base = look(held_out__x=noisy(0.5, spread, seed))
    risen = look(5, held_out__x=tuple(v + 0.1 for v in noisy(0.5, spread, seed)))
    slightly = look(5, held_out__x=tuple(v - 0.04 for v in noisy(0.5, spread, seed)))
    assert names(base, risen) == []
    assert names(base, slightly) == []
