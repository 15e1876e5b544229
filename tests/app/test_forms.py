"""The forms: typed values become requests, or one sentence that names the invalid value."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forms.generation_form import (
    FIELDS,
    MAX_TAKES,
    Ranges,
    adapter_choices,
    draw_seed,
    mix_choices,
    model_choices,
    model_groups,
    named_values,
    preset_choices,
    read_order,
    read_seed,
    settings_of,
)
from app.forms.mode_fields import MODE_FIELDS, shown_mode
from app.forms.picture_fields import offered, preview, shown_pictures
from app.text import general
from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.package_data import PRESETS
from engine.request import SEED_LIMIT, GenerationRequest, KeyframePlan, WindowPlan


def typed(**changes: Any) -> dict[str, Any]:
    form = {
        "prompt": "a red circle moving left",
        "negative_prompt": "",
        "model": "mini",
        "adapter": None,
        "num_frames": 33,
        "num_steps": 20,
        "guidance": 3.0,
        "width": 64,
        "height": 64,
        "fps": 8.0,
        "seed": "7",
        "keep_seed": False,
        "takes": 1,
        "mix": "mini",
    }
    how = dict(zip(MODE_FIELDS, shown_mode(GenerationRequest(prompt="any")), strict=True))
    return {**form, **how, "image": "", "last_image": "", **changes}


def test_a_form_becomes_requests_with_seeds_in_a_row() -> None:
    order = read_order(typed(takes=3))
    assert [request.seed for request in order.requests] == [7, 8, 9]
    assert {request.model_copy(update={"seed": 0}) for request in order.requests} == {
        GenerationRequest(prompt="a red circle moving left", model="mini")
    }
    assert order.mix == "mini"


def test_a_picture_of_the_form_is_in_the_request_and_back() -> None:
    (request,) = read_order(typed(image="a" * 64)).requests
    assert request.image == "a" * 64 and request.last_image is None
    assert list(shown_pictures(request.model_dump())) == ["a" * 64, ""]
    assert "a" * 64 in preview("a" * 64) and preview('"><script>') == ""
    with pytest.raises(ConfigError, match="image = 'x' is invalid"):
        read_order(typed(image="x"))


def test_models_without_pictures_hide_and_empty_the_fields() -> None:
    shown = offered("wan21_i2v_14b", "a" * 64, "b" * 64)
    assert [one["visible"] for one in shown[:2]] == [True, False] and shown[2:] == ["a" * 64, ""]
    assert offered("wan21_1_3b", "a" * 64, "")[2:] == ["", ""]


@pytest.mark.parametrize(
    ("how", "plans"),
    [
        (
            {"mode": "keyframes", "interval": 16},  # the guidance is the model's where none is typed
            {"mode": "keyframes", "keyframes": KeyframePlan(interval=16, keyframe_guidance=3.0)},
        ),
        (
            {"mode": "keyframes", "keyframe_guidance": 9.0, "inbetween_guidance": 0},  # 0: the model's own
            {"mode": "keyframes", "keyframes": KeyframePlan(keyframe_guidance=9.0)},
        ),
        ({"mode": "windows", "window": 33, "overlap": None}, {"mode": "windows", "windows": WindowPlan(length=33)}),
        ({"mode": "direct", "interval": 16, "window": 33}, {}),
    ],
)
def test_only_the_chosen_modes_settings_are_read_and_shown_again(how: dict[str, Any], plans: dict[str, Any]) -> None:
    (request,) = read_order(typed(**how)).requests
    assert request == GenerationRequest(prompt="a red circle moving left", seed=7, **plans)
    shown = dict(zip(MODE_FIELDS, shown_mode(request), strict=True))
    assert read_order(typed(**shown)).requests == (request,)


def test_windows_make_longer_clips_than_the_model_alone() -> None:
    direct, windows = (Ranges.of(load_preset("models", "mini")).frames(mode) for mode in ("direct", "windows"))
    assert windows["maximum"] > direct["maximum"] and windows["minimum"] == direct["minimum"]
    with pytest.raises(ConfigError, match="the nearest is 129|at most 129"):
        read_order(typed(num_frames=windows["maximum"]))
    assert read_order(typed(num_frames=windows["maximum"], mode="windows")).requests[0].num_frames > 129


def test_a_plan_that_cannot_be_followed_is_said_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="longer than the clip of 17"):
        read_order(typed(mode="keyframes", num_frames=17, interval=40))


def test_the_fields_of_the_form_are_the_components_in_order() -> None:
    assert named_values([typed()[name] for name in FIELDS]) == typed()
    empty = named_values([typed(mix="", adapter="")[name] for name in FIELDS])
    assert (empty["mix"], empty["adapter"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "   "}, "The prompt is empty"),
        ({"prompt": ""}, "prompt = '' is invalid"),
        ({"prompt": "x" * 10_000}, r"prompt = .*\(10002 characters\)"),
        ({"num_frames": 34}, "num_frames = 34: the nearest is 33"),
        ({"num_frames": 1000}, "num_frames = 1000: the nearest is 129"),
        ({"width": 70}, "width that is a multiple of 16 px, but got 70: try 64"),
        ({"guidance": float("nan")}, "guidance = nan is invalid"),
        ({"model": "minny"}, "Unknown preset 'minny'.*Did you mean 'mini'"),
        ({"seed": "-1"}, "whole number from 0 to 9223372036854775807, but got '-1'"),
        ({"takes": 99}, "must be from 1 to 16"),
        ({"takes": None}, "but got None"),
        ({"adapter": "run-1"}, "Unknown adapter 'run-1' for model 'mini'.*Did you mean 'run-2'"),
    ],
)
def test_what_will_not_do_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        read_order(typed(**changes), adapters=["run-2"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words", ["1.5", "abc", "١٢", "1e3", "9" * 5000, str(SEED_LIMIT), "--", "0x1"])
def test_no_seed(words: str) -> None:
    with pytest.raises(ConfigError, match="The seed must be a whole number"):
        read_seed(words)


@given(st.integers(0, SEED_LIMIT - 1))
def test_a_seed_keeps_all_its_digits(seed: int) -> None:
    assert read_seed(f" {seed} ") == seed


def test_an_empty_seed_is_drawn() -> None:
    assert 0 <= read_seed("") < SEED_LIMIT
    assert len({draw_seed() for _ in range(50)}) > 45


def test_seeds_go_round_at_the_end() -> None:
    last = GenerationRequest(prompt="x", seed=SEED_LIMIT - 1)
    assert last.with_seed(last.seed + 1).seed == 0 and [take.seed for take in last.with_seeds(2)] == [last.seed, 0]


def test_sliders_offer_only_what_the_family_can_do() -> None:
    ranges = Ranges.of(load_preset("models", "mini"))
    offered = range(ranges.first_frames, ranges.last_frames + 1, ranges.frame_step)
    assert list(offered)[:2] == [17, 25] and offered[-1] == 129
    assert ranges.size_step == 16


def test_settings_are_the_models_defaults_or_what_is_given() -> None:
    values = [update["value"] for update in settings_of("mini", [])]
    assert values == ["mini", "", 33, 20, 3.0, 64, 64, 8.0]
    assert settings_of("mini", [], {"num_frames": 65})[2]["value"] == 65


def test_adapters_are_offered_or_it_is_said_that_there_are_none() -> None:
    none, some = settings_of("mini", [])[1], settings_of("mini", ["run-2"], {"adapter": "gone"})[1]
    assert (none["interactive"], none["info"]) == (False, general.NO_ADAPTERS)
    assert some["interactive"] and [key for _, key in some["choices"]] == ["", "gone", "run-2"]
    assert some["value"] == "gone", "the form says what made the clip; filing it says that the adapter is gone"
    assert adapter_choices(["a"])["choices"][0] == (general.NO_ADAPTER, "")


def test_an_order_says_what_the_model_will_not_read() -> None:
    assert read_order(typed()).notes == ()
    (note,) = read_order(typed(prompt="star " * 200 + "moon", takes=3)).notes
    assert "longer than the model reads" in note


def test_a_broken_preset_is_left_out(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.toml").write_text("title = 'No family'")
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path))
    assert "mini" in dict((key, title) for title, key in preset_choices("models"))
    assert "broken" not in [key for _, key in preset_choices("models")]


def test_models_are_grouped_by_whether_they_can_be_used(
    mini_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    shipped = (PRESETS / "models" / "mini.toml").read_text()
    foreign = (
        shipped.replace('"ltx"', '"wan"').replace('"assets/mini"', f'"{mini_folder}"').replace("mini (e", "other (e")
    )
    (tmp_path / "models" / "foreign.toml").write_text(foreign)
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path))
    usable, others = ({key: title for title, key in group} for group in model_groups().values())
    assert set(usable) == {"mini"} and usable["mini"] == "mini (embedded)"
    assert others["wan22_5b"] == "Wan 2.2 5B (not installed)"
    assert others["foreign"] == "other (embedded) (cannot be used)"
    assert [key for _, key in model_choices()] == [*usable, *others]


def test_scoring_nothing_can_be_chosen() -> None:
    assert mix_choices()[-1][1] == ""
    assert MAX_TAKES >= 8
