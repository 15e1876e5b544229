"""The mix: weights that renormalise, gates that multiply, reports that survive JSON, presets that say what is wrong."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import (
    REWARDS,
    Clip,
    Mix,
    RewardError,
    RewardReport,
    as_reward_funcs,
    comprehensive_reward,
    mix_reward_func,
    read_mix,
    reward_spec,
)
from rewards.features import ClipFeatures
from rewards.mix import GateStrengths, combine
from rewards.registry import PIECES, known_backends
from rewards.spec import RewardResult
from rewards.suite import RewardSuite
from rewards.vision.flow import DisFlow

from .conftest import render_clip

PRESETS = Path(__file__).resolve().parents[2] / "presets" / "rewards"
OPEN = {"motion": 1.0, "sharpness": 1.0, "cut": 1.0, "loop": 1.0}
unit = st.floats(0, 1)
parts = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.none() | unit, st.floats(0, 10)), min_size=1)


def test_the_total_is_the_weighted_mean() -> None:
    total = combine({"a": 1.0, "b": 0.25}, {"a": 1.0, "b": 3.0}, OPEN, GateStrengths())
    assert total.value == pytest.approx(0.4375)
    assert total.weights == {"a": 0.25, "b": 0.75} and total.notes == ()


def test_a_reward_without_a_value_drops_out_and_the_rest_share_its_weight() -> None:
    total = combine({"a": 0.8, "b": None, "c": 0.4}, {"a": 1, "b": 5, "c": 1}, OPEN, GateStrengths())
    assert total.value == pytest.approx(0.6)
    assert total.weights == {"a": 0.5, "c": 0.5} and "b" in total.notes[0]


def test_nothing_applicable_gives_no_total() -> None:
    assert combine({"a": None}, {"a": 1}, OPEN, GateStrengths()).value is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_an_error(bad: float) -> None:
    with pytest.raises(RewardError, match="'a' gave"):
        combine({"a": bad}, {"a": 1}, OPEN, GateStrengths())
    with pytest.raises(RewardError, match="finite"):
        RewardResult(value=bad)


@given(parts)
def test_the_total_lies_between_the_values(drawn: dict[str, tuple[float | None, float]]) -> None:
    values = {key: value for key, (value, _) in drawn.items()}
    weights = {key: weight for key, (_, weight) in drawn.items()}
    total = combine(values, weights, OPEN, GateStrengths())
    counted = [v for k, v in values.items() if v is not None and weights[k] > 0]
    if not counted:
        assert total.value is None
    else:
        assert total.value is not None
        assert min(counted) - 1e-9 <= total.value <= max(counted) + 1e-9
        assert math.fsum(total.weights.values()) == pytest.approx(1)


@given(unit, unit, unit)
def test_a_closing_gate_never_raises_the_total(level: float, lower: float, strength: float) -> None:
    gates = GateStrengths(motion=strength)
    more, less = (combine({"a": 0.7}, {"a": 1}, {**OPEN, "motion": m}, gates).value for m in (level, level * lower))
    assert more is not None and less is not None and less <= more + 1e-12


def test_a_report_survives_json() -> None:
    report = RewardSuite(read_mix(PRESETS / "mini.toml")).score(render_clip(), "abc")
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    again = RewardReport.from_dict(stored)
    assert again.to_dict() == stored
    assert again.parts == report.parts and again.clip_id == "abc" and again.mix == "mini"
    series = again.results["flow_smoothness"].per_frame
    assert series is not None and np.isnan(series[0]) and len(series) == 33
    assert report.seconds["shared.flow"] > 0


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_preset_can_be_used(path: Path) -> None:
    mix = read_mix(path)
    assert mix.key == path.stem and mix.title
    assert RewardSuite(mix).mix.weights.keys() <= REWARDS.keys()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('title = "x"\n[weights]\nflow_smothness = 1.0', "Did you mean 'flow_smoothness'"),
        ('title = "x"\n[wieghts]\nflow_smoothness = 1.0', "Did you mean 'weights'"),
        ('title = "x"\n[weights]\nflow_smoothness = -1.0', "greater than or equal to 0"),
        ('title = "x"\n[weights]\nflow_smoothness = nan', "finite"),
        ('title = "x"\n[weights]\nflow_smoothness = 0.0', "above 0"),
        ("title = " + "[" * 50_000, "cannot be read: brackets are nested too deeply"),
        ('title = "x"\n[gates]\nmotion = 2.0\n[weights]\nloop_break = 1', "gates.motion"),
        ('title = "x"\n[weights]\nclip_vid = 1\n[backends]\ncilp = "mini"', r"shared piece .*Did you mean 'clip'"),
        ('title = "x"\n[weights]\nclip_vid = 1\n[backends]\nclip = "ViT-L14"', r"of clip .*Did you mean 'ViT-L-14'"),
        ('title = "x"\n[weights]\nseam = 1\n[backends]\nseam = "other"', "unknown back end of seam 'other'. Known:"),
        ("title = ", "cannot be read"),
    ],
)
def test_a_wrong_preset_says_what_and_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf8")
    with pytest.raises(RewardError, match=says):
        read_mix(path)
    with pytest.raises(RewardError, match=r"missing\.toml cannot be read"):
        read_mix(tmp_path / "missing.toml")


def test_a_mix_from_code_names_known_back_ends() -> None:
    mix = Mix(key="mine", title="", weights={"loop_break": 1.0}, backends={"flwo": "dis"})
    with pytest.raises(RewardError, match="mix mine has an unknown shared piece .*Did you mean 'flow'"):
        RewardSuite(mix)


def test_every_piece_that_a_reward_asks_for_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of each is one of its back ends."""
    asked: dict[str, str] = {}

    def listening(self: ClipFeatures, piece: str, default: str) -> str:
        asked[piece] = default
        return self._backends.get(piece, default)

    monkeypatch.setattr(ClipFeatures, "backend", listening)
    mini = read_mix(PRESETS / "mini.toml")
    RewardSuite(mini.model_copy(update={"weights": dict.fromkeys(REWARDS, 1.0)})).score(render_clip(num_frames=65))
    assert {*asked, "flow"} == set(PIECES)
    assert all(default in known_backends(piece) for piece, default in asked.items())


def test_a_reward_that_cannot_be_computed_is_told_from_one_that_does_not_apply(no_weights: None) -> None:
    mix = Mix(key="x", title="", weights={"identity_lock": 1, "t_lpips": 1, "seam": 1, "loop_break": 1})
    notes = RewardSuite(mix).score(render_clip(num_frames=9)).notes
    said = {note.split()[0]: note for note in notes}
    assert said["seam"] == "seam does not apply here; the other rewards share its weight."
    assert said["t_lpips"].startswith("t_lpips could not be computed; the other rewards share its weight. ")
    assert said["t_lpips"].endswith(".") and "dailies weights get" in said["t_lpips"]


def test_the_one_call() -> None:
    clip = render_clip()
    total, found = comprehensive_reward(clip.prompt, clip.frames)
    assert total is not None and 0 <= total <= 1
    assert found.keys() == REWARDS.keys()
    only, _ = comprehensive_reward(clip.prompt, clip.frames, {"loop_break": 2.0})
    assert only == pytest.approx(found["loop_break"])
    with pytest.raises(RewardError, match="Did you mean 'loop_break'"):
        comprehensive_reward(clip.prompt, clip.frames, {"loop_brake": 1.0})
    with pytest.raises(RewardError, match="0 or more"):
        comprehensive_reward(clip.prompt, clip.frames, {"loop_break": -1.0})


def test_reward_functions_speak_trl() -> None:
    mix = read_mix(PRESETS / "mini.toml")
    clips = [render_clip(), Clip(frames=np.full((33, 64, 64, 3), 99, np.uint8), fps=8)]
    functions = {f.__name__: f for f in as_reward_funcs(mix)}
    assert functions.keys() == mix.weights.keys()
    smooth = functions["flow_smoothness"](prompts=["a", "b"], completions=[c.frames for c in clips], extra=[1, 2])
    assert smooth[0] is not None and smooth[0] > 0.5 and smooth[1] is None
    expected = [RewardSuite(mix).score(clip).total for clip in clips]
    assert mix_reward_func(mix)([c.prompt for c in clips], clips) == expected


def test_a_report_is_the_same_in_any_company() -> None:
    suite = RewardSuite(read_mix(PRESETS / "mini.toml"))
    clips = [render_clip(motion, num_frames=17) for motion in ("right", "left", "circle")] * 3 + [render_clip("down")]
    names = [str(number) for number in range(len(clips))]
    together = suite.score_many(clips, names)
    assert [report.clip_id for report in together] == names
    alone = [suite.score(clip) for clip in clips[:3]] * 3
    for one, other in zip(alone, together, strict=False):
        assert one.parts == pytest.approx(other.parts, abs=1e-6) and one.total == pytest.approx(other.total, abs=1e-6)
    assert suite.score_many([]) == []
    with pytest.raises(RewardError, match="one id a clip"):
        suite.score_many(clips[:2], ["a"])


def test_reward_functions_score_a_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = []
    measured = DisFlow.__call__

    def counted(self: DisFlow, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        flows.append(len(first))
        return measured(self, first, second)

    monkeypatch.setattr(DisFlow, "__call__", counted)
    functions = as_reward_funcs(read_mix(PRESETS / "mini.toml"))
    prompts, clips = ["a", "b"], [render_clip(num_frames=17), render_clip("left", num_frames=17)]
    for function in functions:
        function(prompts=prompts, completions=clips)
    assert flows == [16] * 4  # two clips, both ways
    functions[0](prompts=prompts, completions=[c.frames for c in clips])
    assert len(flows) == 8


def test_a_buffer_that_was_written_again_is_scored_again() -> None:
    function = mix_reward_func(Mix(key="x", title="", weights={"loop_break": 1.0, "aesthetic": 1.0}))
    clean = render_clip("left", num_frames=17, background="night").frames
    noise = np.random.default_rng(0).integers(0, 256, clean.shape, dtype=np.uint8)
    buffer = clean.copy()
    before = function(["a"], [buffer])
    buffer[:] = noise
    after = function(["a"], [buffer])
    assert before == function(["a"], [clean]) and after == function(["a"], [noise]) and before != after


def test_frame_rates_may_be_an_array() -> None:
    function = mix_reward_func(Mix(key="x", title="", weights={"loop_break": 1.0}))
    frames = [render_clip(num_frames=9).frames] * 2
    assert function(["a", "b"], frames, fps=np.array([8.0, 16.0])) == function(["a", "b"], frames, fps=[8.0, 16.0])


@pytest.mark.parametrize("key", list(REWARDS))
def test_every_reward_says_what_it_is(key: str) -> None:
    spec = reward_spec(key)
    assert spec.key == key and spec.title and spec.question.endswith("?")
    assert spec.source and spec.licence and spec.unit and spec.low != spec.high


@pytest.mark.parametrize(
    ("prompt", "unjudged"),
    [
        ("a purple dragon over the Grand Canyon at dusk", ("clip_vid", "caption_consistency")),
        ("a red star moving right over a meadow", ()),
        ("", ()),
    ],
)
def test_a_report_names_the_rewards_that_cannot_judge_its_prompt(prompt: str, unjudged: tuple[str, ...]) -> None:
    weights = {"clip_vid": 1.0, "caption_consistency": 1.0, "aesthetic": 1.0}
    backends = {"clip": "mini", "captions": "mini"}
    mix = Mix(key="m", title="", weights=weights, calibration="mini", backends=backends)
    found = RewardSuite(mix).score(Clip(frames=render_clip(num_frames=9).frames, fps=8, prompt=prompt))
    assert found.unjudged == unjudged and found.total is not None
    assert RewardReport.from_dict(json.loads(json.dumps(found.to_dict()))).unjudged == unjudged
