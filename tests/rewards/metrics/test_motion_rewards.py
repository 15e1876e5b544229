"""The rewards without weights on damaged clips: each falls where the oracle table says so, and stays where it must."""

from functools import cache

import numpy as np
import pytest

from rewards import Clip, Mix, RewardReport
from rewards.matrix import perturbations
from rewards.suite import RewardSuite
from tests.rewards.conftest import real_clip, render_clip

KEYS = ("flow_smoothness", "structure_constancy", "loop_break")
# People far from the camera: shuffled, the roughness doubles (.06 to .13), but stays below the good anchor (.17), which
# was measured on films with larger motion. The value does not see it; the raw measurement does.
SATURATED = {("vtest.avi", "shuffle")}
SOURCES = ("meadow", "white", "circle", "carphone_pristine.mp4", "vtest.avi")
WEIGHTS = dict.fromkeys(KEYS, 1.0)


@cache
def source(name: str) -> Clip:
    if name.endswith((".mp4", ".avi")):
        return real_clip(name)
    if name == "circle":
        return render_clip("circle", background="grey")
    return render_clip("down-right", background=name, x=14.0, y=14.0)


@cache
def scored(name: str, damage: str | None = None) -> RewardReport:
    clip = source(name)
    other = render_clip("left", background="night", shape="square", colour="cyan", x=46.0, y=24.0)
    frames, rate = clip.frames, 1.0
    if damage:
        change = perturbations.PERTURBATIONS[damage]
        tail = np.resize(other.frames, (len(frames), *other.frames.shape[1:]))
        frames, rate = change.apply(frames, tail), change.rate
    domain = "real" if name.endswith((".mp4", ".avi")) else "mini"
    mix = Mix(key="test", title="", weights=WEIGHTS, calibration=domain)
    return RewardSuite(mix).score(Clip(frames=frames, fps=clip.fps * rate, prompt=clip.prompt))


def value(name: str, key: str, damage: str | None = None) -> float:
    found = scored(name, damage).results[key].value
    assert found is not None
    return found


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("damage", ["frozen", "jitter", "wobble", "shuffle", "pure_noise", "double_rate"])
def test_smoothness_falls(name: str, damage: str) -> None:
    if (name, damage) in SATURATED:
        raw, damaged = (scored(name, change).results["flow_smoothness"].raw for change in (None, damage))
        assert raw is not None and damaged is not None and damaged > 2 * raw
        assert value(name, "flow_smoothness", damage) == value(name, "flow_smoothness") == 1
        return
    assert value(name, "flow_smoothness", damage) < value(name, "flow_smoothness") - 0.03


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("damage", ["frozen", "wobble", "noise", "shuffle", "cut", "pure_noise"])
def test_structure_falls(name: str, damage: str) -> None:
    assert value(name, "structure_constancy", damage) < value(name, "structure_constancy") - 0.03


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("damage", ["repeat", "ping_pong"])
def test_repetition_is_found(name: str, damage: str) -> None:
    assert value(name, "loop_break") > 0.9
    assert value(name, "loop_break", damage) < 0.1


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("damage", ["reverse", "flicker", "noise", "flip", "cut", "shuffle", "jitter", "wobble"])
def test_what_is_no_loop_is_not_taken_for_one(name: str, damage: str) -> None:
    assert value(name, "loop_break", damage) > 0.9


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("damage", "tolerance"), [("reverse", 0.06), ("flip", 0.06)])
def test_time_and_side_do_not_matter(name: str, key: str, damage: str, tolerance: float) -> None:
    assert value(name, key, damage) == pytest.approx(value(name, key), abs=tolerance)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("damage", ["frozen", "blur", "repeat", "ping_pong", "cut", "pure_noise", "noise", "shuffle"])
def test_no_damage_beats_the_clip_in_the_mix(name: str, damage: str) -> None:
    whole, damaged = scored(name).total, scored(name, damage).total
    assert whole is not None and damaged is not None
    assert damaged < whole


def test_a_frozen_clip_is_worth_nothing_unless_asked_for() -> None:
    frames = perturbations.frozen(render_clip().frames)
    suite = RewardSuite(Mix(key="m", title="", weights=WEIGHTS, calibration="mini"))
    unasked = suite.score(Clip(frames=frames, fps=8, prompt="a red star moving right"))
    asked = suite.score(Clip(frames=frames, fps=8, prompt="a red star standing still over a meadow"))
    assert unasked.total == 0
    assert asked.total is not None and asked.total > 0.95
    assert unasked.results["loop_break"].value is None and "Nothing moves" in unasked.results["loop_break"].reason


def test_loop_break_is_turned_round_where_a_loop_is_wanted() -> None:
    suite = RewardSuite(Mix(key="m", title="", weights={"loop_break": 1}, calibration="mini"))
    loop, line = render_clip("circle", loop=True), render_clip("right")
    assert "looping" in loop.prompt
    wanted = [suite.score(Clip(frames=clip.frames, fps=8, prompt="looping")).total for clip in (loop, line)]
    unwanted = [suite.score(Clip(frames=clip.frames, fps=8, prompt="")) for clip in (loop, line)]
    assert wanted == pytest.approx([1, 0], abs=0.1)
    assert [report.total for report in unwanted] == pytest.approx([0, 1], abs=0.02)
    # By half, since flat shapes such as a turning circle repeat without a loop.
    assert [report.gates["loop"] for report in unwanted] == pytest.approx([0.5, 1], abs=0.02)
    assert suite.score(Clip(frames=loop.frames, fps=8, prompt="looping")).gates["loop"] == 1


def test_a_dip_in_the_series_marks_the_first_frame_of_the_cut() -> None:
    first, second = render_clip("right"), render_clip("left", background="night", colour="cyan")
    frames = perturbations.cut_to(first.frames, second.frames, at=20)
    mix = Mix(key="m", title="", weights={"structure_constancy": 1}, calibration="mini")
    series = RewardSuite(mix).score(Clip(frames=frames, fps=8)).results["structure_constancy"].per_frame
    assert series is not None and len(series) == 33
    assert np.isnan(series[0]) and int(np.nanargmin(series)) == 20
