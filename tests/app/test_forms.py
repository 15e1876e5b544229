"""The forms: typed values become requests, or one sentence that names the invalid value."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forms import preset_choices as choices_of_models
from app.forms.adapter_fields import OfferedAdapter
from app.forms.generation_form import (
    FIELDS,
    MAX_VARIATIONS,
    Ranges,
    draw_seed,
    named_values,
    read_generation,
    read_seed,
    settings_of,
)
from app.forms.mode_fields import MODE_FIELDS, shown_mode
from app.forms.picture_fields import offered, preview, shown_pictures
from app.forms.preset_choices import mix_choices, model_choices, model_groups, preset_choices, why_unusable
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
        "adapters": {"rows": []},
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
        "preview": True,
    }
    how = dict(zip(MODE_FIELDS, shown_mode(GenerationRequest(prompt="any")), strict=True))
    batch = {"batch": "one", "prompts": "", "columns": "guidance", "column_values": "", "rows": "", "row_values": ""}
    return {**form, **how, "image": "", "last_image": "", **batch, **changes}


def rows(*scales: tuple[str, Any]) -> dict[str, Any]:
    return {"rows": [{"name": name, "scale": scale} for name, scale in scales]}


def test_a_form_becomes_requests_with_seeds_in_a_row() -> None:
    batch = read_generation(typed(takes=3))
    assert [request.seed for request in batch.requests] == [7, 8, 9]
    assert {request.model_copy(update={"seed": 0}) for request in batch.requests} == {
        GenerationRequest(prompt="a red circle moving left", model="mini")
    }
    assert batch.mix == "mini"


def test_a_picture_of_the_form_is_in_the_request_and_back() -> None:
    (request,) = read_generation(typed(image="a" * 64)).requests
    assert request.image == "a" * 64 and request.last_image is None
    assert list(shown_pictures(request.model_dump())) == ["a" * 64, ""]
    assert "a" * 64 in preview("a" * 64) and preview('"><script>') == ""
    with pytest.raises(ConfigError, match="image = 'x' is invalid"):
        read_generation(typed(image="x"))


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
    (request,) = read_generation(typed(**how)).requests
    assert request == GenerationRequest(prompt="a red circle moving left", seed=7, **plans)
    shown = dict(zip(MODE_FIELDS, shown_mode(request), strict=True))
    assert read_generation(typed(**shown)).requests == (request,)


def test_windows_make_longer_clips_than_the_model_alone() -> None:
    direct, windows = (Ranges.of(load_preset("models", "mini")).frames(mode) for mode in ("direct", "windows"))
    assert windows["maximum"] > direct["maximum"] and windows["minimum"] == direct["minimum"]
    with pytest.raises(ConfigError, match="the nearest is 129|at most 129"):
        read_generation(typed(num_frames=windows["maximum"]))
    assert read_generation(typed(num_frames=windows["maximum"], mode="windows")).requests[0].num_frames > 129


def test_a_plan_that_cannot_be_followed_is_said_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="longer than the clip of 17"):
        read_generation(typed(mode="keyframes", num_frames=17, interval=40))


def test_the_fields_of_the_form_are_the_components_in_order() -> None:
    assert named_values([typed()[name] for name in FIELDS]) == typed()
    assert named_values([typed(mix="")[name] for name in FIELDS])["mix"] is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "   "}, r"^Enter a prompt\.$"),
        ({"prompt": ""}, r"^Enter a prompt\.$"),
        ({"prompt": "x" * 10_000}, "^The prompt has 10,000 characters: shorten it to 2,000 or fewer"),
        ({"width": -5}, "^width = -5 is invalid: it must be 16 to 8,192"),
        ({"fps": 0}, "^fps = 0 is invalid: it must be above 0 and at most 240"),
        ({"num_frames": 34}, "num_frames = 34: the nearest is 33"),
        ({"num_frames": 1000}, "num_frames = 1000: the nearest is 129"),
        ({"width": 70}, "width that is a multiple of 16 px, but got 70: try 64"),
        ({"guidance": float("nan")}, "guidance = nan is invalid"),
        ({"model": "minny"}, "Unknown preset 'minny'.*Did you mean 'mini'"),
        ({"seed": "-1"}, "whole number from 0 to 9223372036854775807, but got '-1'"),
        ({"takes": 99}, "must be from 1 to 16"),
        ({"takes": None}, "but got None"),
        ({"adapters": rows(("run-1", 1))}, "Unknown adapter 'run-1' for model 'mini'.*Did you mean 'run-2'"),
        ({"adapters": rows(("run-2", 1), ("run-2", 2))}, "an adapter is named twice"),
        ({"adapters": rows(("run-2", 11))}, "scale"),
        ({"adapters": rows(("run-2", None))}, "scale"),
        ({"batch": "list", "prompts": "\n \n"}, "Enter a prompt in each line"),
        ({"batch": "list", "prompts": '{"a":' * 5000}, "Prompts, line 1: a line that begins with {"),
        ({"batch": "list", "prompts": "a star\n{prompt"}, "Prompts, line 2: a line that begins with {"),
        (
            {"batch": "list", "prompts": '{"prompt": "x", "image": "/etc/passwd"}'},
            "'image': a picture cannot be loaded",
        ),
        ({"batch": "list", "prompts": '{"prompt": "x", "image": "/none.png"}'}, "'image': a picture cannot be loaded"),
        ({"batch": "list", "prompts": "\n".join(f"p{n}" for n in range(100)), "takes": 11}, "1,100 clips are more"),
        ({"batch": "sweep"}, "The sweep has no value of guidance"),
        ({"batch": "sweep", "column_values": "1, x"}, "must be numbers, but got 'x'"),
        ({"batch": "sweep", "column_values": "1, 1"}, "the guidance 1 twice"),
        ({"batch": "sweep", "columns": "strength", "column_values": "1"}, "needs an adapter"),
        ({"batch": "sweep", "column_values": "1", "rows": "guidance", "row_values": "2"}, "two different axes"),
    ],
)
def test_what_will_not_do_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        read_generation(typed(**changes), adapters=["run-2"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"width": -5}, "width"),
        ({"height": 70}, "height"),
        ({"fps": 0}, "fps"),
        ({"num_frames": 34}, "num_frames"),
        ({"num_frames": 1000}, "num_frames"),
        ({"seed": "x"}, "seed"),
        ({"takes": 99}, "takes"),
        ({"adapters": rows(("run-1", 1))}, "adapters"),
        ({"batch": "list"}, "prompts"),
        ({"batch": "list", "prompts": "{"}, "prompts"),
        ({"batch": "sweep", "column_values": "x"}, "column_values"),
        ({"batch": "sweep", "column_values": "1", "rows": "seed", "row_values": ""}, "row_values"),
    ],
)
def test_a_mistake_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_generation(typed(**changes))
    assert error.value.field == field


def test_a_model_that_is_too_large_is_marked_and_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    mini = load_preset("models", "mini")
    assert why_unusable(mini) == "" and ("mini (embedded)", "mini") in model_choices()
    choices_of_models._too_large.cache_clear()
    monkeypatch.setattr(choices_of_models, "device_gib", lambda: 0.001)
    try:
        assert "this machine has 1 MiB" in why_unusable(mini)
        assert (general.too_large("mini (embedded)"), "mini") in model_groups()[general.MODEL_GROUPS[1]]
        assert settings_of("mini", {})[0]["info"] == why_unusable(mini)
    finally:
        choices_of_models._too_large.cache_clear()


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
    values = [update["value"] for update in settings_of("mini", {}) if "value" in update]
    assert values == ["mini", 33, 20, 3.0, 64, 64, 8.0]
    assert settings_of("mini", {}, {"num_frames": 65})[2]["value"] == 65


def test_adapters_are_offered_and_those_of_a_clip_are_shown_even_if_they_are_gone() -> None:
    none = settings_of("mini", {})[1]
    known = {"run-2": OfferedAdapter("Softer (run-2)"), "film": OfferedAdapter("film", "film look")}
    some = settings_of("mini", known, {"adapters": [("gone", 0.5)]})[1]
    assert none == {"names": [], "titles": {}, "triggers": {}, "rows": []}
    assert some == {
        "names": ["film", "run-2"],
        "titles": {"run-2": "Softer (run-2)"},
        "triggers": {"film": "film look"},
        "rows": [{"name": "gone", "scale": 0.5}],
    }


def test_adapters_become_the_requests_own() -> None:
    names = ["run-2", "film"]
    one = read_generation(typed(adapters=rows(("run-2", 1))), names).requests[0]
    assert (one.adapter, one.adapters, one.scales) == ("run-2", (), {"run-2": 1.0})
    two = read_generation(typed(adapters=rows(("run-2", 0.8), ("film", -1))), names).requests[0]
    assert two.adapter is None and two.adapter_label == "run-2 0.8 + film -1"
    assert two.without_adapters() == read_generation(typed()).requests[0]


def test_a_list_of_prompts_is_one_order_with_an_axis() -> None:
    lines = 'a star\n\n{"prompt": "a ball", "negative": "blurry"}\na star'
    batch = read_generation(typed(batch="list", prompts=lines, takes=2))
    assert [(request.prompt, request.negative_prompt, request.seed) for request in batch.requests] == [
        *(("a star", "", 7), ("a star", "", 8)),
        *(("a ball", "blurry", 7), ("a ball", "blurry", 8)),
    ]
    assert [axis.name for axis in batch.axes] == ["seed", "prompt"]
    assert [axis.name for axis in read_generation(typed(batch="list", prompts=lines)).axes] == ["prompt"]


def test_a_sweep_lists_its_requests_row_by_row() -> None:
    sweep = {"batch": "sweep", "column_values": "1, 3.5", "rows": "checkpoint", "row_values": "base, run@8"}
    batch = read_generation(typed(**sweep, adapters=rows(("run-2", 0.5))), ["run-2", "run@8"])
    assert [(request.guidance, request.adapter_label) for request in batch.requests] == [
        *((1.0, None), (3.5, None)),
        *((1.0, "run@8 0.5"), (3.5, "run@8 0.5")),
    ]
    sweep = typed(batch="sweep", columns="strength", column_values="0,1", adapters=rows(("a", 1)))
    strength = read_generation(sweep, ["a"])
    assert [request.scales for request in strength.requests] == [{"a": 0.0}, {"a": 1.0}]


def test_an_order_says_what_the_model_will_not_read() -> None:
    assert read_generation(typed()).notes == ()
    (note,) = read_generation(typed(prompt="star " * 200 + "moon", takes=3)).notes
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
    assert MAX_VARIATIONS >= 8
