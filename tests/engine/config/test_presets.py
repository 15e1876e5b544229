"""Presets on disk, the user's own laid over them, and requests held against them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config.presets import check_new_key, load_preset, overlay, preset_keys, to_toml
from engine.config.schema import REQUEST_FIELDS, ModelPreset
from engine.errors import ConfigError
from engine.families.registry import family_spec
from engine.generation.clip_plan import requires_end_frames
from engine.generation.validation import check_request, read_request, why_untrainable
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan, WindowPlan
from rewards.import_object import import_object
from rewards.text_files import parse_toml

MODEL = """
title = "Mine"
family = "ltx"
source = "assets/mini"
width = 64
height = 64
num_frames = 33
fps = 8
num_steps = 20
guidance = 3
max_frames = 129
"""


@pytest.fixture
def own_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`own_preset(text, key="mine", kind="models")` writes a preset into the user's folder."""
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))

    def write(text: str, key: str = "mine", kind: str = "models") -> None:
        folder = tmp_path / "presets" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{key}.toml").write_text(text)

    return write


def ask(**fields: Any) -> GenerationRequest:
    return GenerationRequest(**{**load_preset("models", "mini").defaults(), "prompt": "a red circle", **fields})


def test_every_character_of_a_text_survives_toml() -> None:
    text = "".join(map(chr, range(1, 0x250))) + "\u2028\u2029\ufeff\U0001f3ac"
    table = {"title": text, "weights": {text: 0.5}, "list": [text, 1e-05, True]}
    assert parse_toml(to_toml(table)) == table


@pytest.mark.parametrize("key", preset_keys("models"))
def test_every_shipped_model_can_make_its_own_default_clip(key: str) -> None:
    preset = load_preset("models", key)
    spec = family_spec(preset.family)
    required = {"image": spec.requires_image, "last_image": spec.requires_last_image}
    given = {name: "0" * 64 for name, is_required in required.items() if is_required}
    check_request(GenerationRequest(prompt="a red circle", **preset.defaults(), **given))
    if requires_end_frames(spec):
        ends = (GivenKeyframe(frame=frame, picture="0" * 64) for frame in (0, preset.num_frames - 1))
        how = {"mode": "keyframes", "keyframes": KeyframePlan(source="given", given=tuple(ends))}
        check_request(GenerationRequest(prompt="a red circle", **preset.defaults(), **how))
    assert spec.allows_frames(preset.max_frames)
    assert preset.licence and preset.notes and preset.recommended


@pytest.mark.parametrize("key", preset_keys("rewards"))
def test_every_shipped_mix_parses(key: str) -> None:
    assert load_preset("rewards", key).weights


def test_the_judge_that_a_shipped_model_names_can_be_called() -> None:
    judges = [preset.judge for key in preset_keys("models") if (preset := load_preset("models", key)).judge]
    assert judges and all(callable(import_object(judge)) for judge in judges)


def test_the_defaults_of_a_preset_are_fields_of_a_request() -> None:
    assert set(REQUEST_FIELDS) < set(GenerationRequest.model_fields)
    assert set(load_preset("models", "mini").defaults()) == {"model", *REQUEST_FIELDS}


def test_a_model_of_a_known_family_is_one_file(own_preset: Callable[..., None]) -> None:
    own_preset(MODEL)
    assert "mine" in preset_keys("models")
    preset = load_preset("models", "mine")
    assert preset.key == "mine" and preset.dtype == "bfloat16"
    check_request(ask(model="mine"))


def test_the_users_file_is_laid_over_the_shipped_one(own_preset: Callable[..., None]) -> None:
    shipped = load_preset("models", "mini")
    own_preset("num_steps = 7\n", key="mini")
    assert load_preset("models", "mini") == shipped.model_copy(update={"num_steps": 7})


def test_tables_are_laid_over_key_by_key() -> None:
    below = {"a": 1, "t": {"x": 1, "y": 2}}
    assert overlay(below, {"b": 2, "t": {"y": 3}}) == {"a": 1, "b": 2, "t": {"x": 1, "y": 3}}
    assert below == {"a": 1, "t": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("guidence = 3", r"Unknown key 'guidence' in models/mine\.toml\. Did you mean 'guidance'\?"),
        ("num_steps = 0", r"models/mine\.toml: num_steps = 0 is invalid: input should be greater than"),
        ("dtype = 'float8'", r"dtype = 'float8' is invalid: input should be 'float32', 'bfloat16' or 'float16'"),
        ("num_frames = 257", r"models/mine\.toml: num_frames = 257 is more than max_frames = 129"),
        ("family = 'ltxx'", r"models/mine\.toml: unknown family 'ltxx'\. Did you mean 'ltx'\?"),
        ("context_frames = 16", r"models/mine\.toml: LTX-Video has no FreeNoise, so leave out context_frames"),
        ("key = 'other'", r"has key = 'other': the key must be the file's name, 'mine'"),
        ("title = ", r"mine\.toml cannot be read as TOML: Invalid value \(at "),
    ],
)
def test_mistakes_in_a_preset_are_explained(own_preset: Callable[..., None], change: str, sentence: str) -> None:
    lines = [line for line in MODEL.splitlines() if not line.startswith(change.split(" =")[0])]
    own_preset("\n".join([*lines, change]))
    with pytest.raises(ConfigError, match=sentence) as said:
        load_preset("models", "mine")
    assert "\n" not in str(said.value)


def test_a_preset_that_lacks_something_is_explained(own_preset: Callable[..., None]) -> None:
    own_preset(MODEL.replace("width = 64\n", ""))
    with pytest.raises(ConfigError, match=r"models/mine\.toml lacks 'width': add it"):
        load_preset("models", "mine")


def test_unknown_presets_and_kinds_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Unknown preset 'mimi' in presets/models\. Did you mean 'mini'\?"):
        load_preset("models", "mimi")
    with pytest.raises(ConfigError, match=r"Unknown preset 'zzzzzz' in presets/models\. Known: .*ltx, .*mini"):
        load_preset("models", "zzzzzz")
    for look in (preset_keys, lambda kind: load_preset(kind, "mini")):
        with pytest.raises(ConfigError, match="no presets of kind 'model'. Did you mean 'models'"):
            look("model")


def test_machines_write_json() -> None:
    preset = load_preset("models", "mini")
    assert ModelPreset(**json.loads(preset.model_dump_json())) == preset


def test_a_form_is_filled_with_the_models_defaults() -> None:
    request = read_request({"prompt": "a red circle", "model": "ltx", "seed": 5})
    preset = load_preset("models", "ltx")
    assert request.seed == 5 and request.width == preset.width and request.num_steps == preset.num_steps
    assert read_request({"prompt": "x"}).model == "mini"


FROM_TEXT = [key for key in preset_keys("models") if not family_spec(load_preset("models", key).family).requires_image]


@pytest.mark.parametrize("model", FROM_TEXT)  # windows take no pictures
def test_every_model_makes_long_clips_in_windows_of_its_own(model: str) -> None:
    preset = load_preset("models", model)
    request = read_request({"prompt": "x", "model": model, "mode": "windows", "num_frames": 3 * preset.max_frames + 1})
    check_request(request)
    asked = read_request({**request.model_dump(), "windows": {"length": preset.max_frames}})
    assert asked.windows == WindowPlan(length=preset.max_frames)


def test_keyframes_have_the_guidance_that_suits_the_model() -> None:
    def guidances(**fields: Any) -> tuple[float, float]:
        plan = read_request({"prompt": "x", "mode": "keyframes", **fields}).keyframes
        assert plan is not None
        return plan.keyframe_guidance, plan.inbetween_guidance

    assert guidances(model="mini") == (3.0, 3.0)
    assert guidances(model="ltx") == (7.0, 3.0)
    assert guidances(model="animatediff_lightning") == (1.0, 1.0)
    assert guidances(model="mini", guidance=1.0) == (1.0, 1.0)
    assert guidances(model="mini", keyframes={"keyframe_guidance": 5.0}) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": ""}, r"^Enter a prompt\.$"),
        ({"prompt": "x" * 10_000}, "The prompt has 10,000 characters: shorten it to 2,000 or fewer"),
        ({"prompt": "x", "stps": 3}, r"Unknown key 'stps' in The request"),
        ({"prompt": "x", "seed": -1}, r"seed = -1 is invalid"),
        ({"prompt": "x", "guidance": float("nan")}, r"guidance = nan is invalid"),
        ({"prompt": "x", "num_frames": "many"}, r"num_frames = 'many' is invalid: input should be a valid integer"),
        ({"model": "mimi", "prompt": "x"}, r"Did you mean 'mini'\?"),
        ({}, r"The request lacks 'prompt': add it"),
    ],
)
def test_bad_forms_are_explained(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as said:
        read_request(fields)
    assert "\n" not in str(said.value) and len(str(said.value)) < 300


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": "  \n "}, r"^Enter a prompt\.$"),
        ({"num_frames": 32}, r"generates clips of 8k\+1 frames, but got num_frames = 32: the nearest is 33"),
        ({"num_frames": 1}, "num_frames = 1: the nearest is 9"),
        ({"num_frames": 1000}, "num_frames = 1000: the nearest is 129"),
        ({"num_frames": 137}, "generates at most 129 frames at once, but got num_frames = 137: use 129 or fewer"),
        ({"width": 70}, "needs a width that is a multiple of 16 px, but got 70: try 64"),
        ({"height": 250}, "needs a height that is a multiple of 16 px, but got 250: try 256"),
        ({"adapter": "run-1"}, "Unknown adapter 'run-1' for model 'mini'. None has been trained yet"),
        ({"model": "mimi"}, r"Did you mean 'mini'\?"),
    ],
)
def test_requests_that_the_model_cannot_do_are_explained(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as said:
        check_request(ask(**fields))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model": "wan21_1_3b", "image": "0" * 64}, "Wan takes no first picture: leave image out, or use another"),
        ({"model": "wan22_5b", "last_image": "0" * 64}, "Wan 2.2 text-and-image takes no last picture"),
        ({"model": "wan21_i2v_14b"}, "Wan image-to-video needs a first picture: set image"),
        ({"model": "wan21_i2v_14b", "mode": "windows"}, "generates only from a first picture: use mode 'direct'"),
        ({"image": "0" * 64, "mode": "keyframes"}, "image is given, but mode 'keyframes' takes no first or last pict"),
    ],
)
def test_pictures_that_do_not_fit_the_model_are_explained(fields: dict[str, Any], sentence: str) -> None:
    defaults = load_preset("models", fields.get("model", "mini")).defaults()
    with pytest.raises(ConfigError, match=sentence):
        check_request(GenerationRequest(**{**defaults, "prompt": "x", **fields}))


def test_ids_of_requests_without_pictures_are_as_before() -> None:
    """Computed before requests had pictures: clips in workspaces keep their ids."""
    assert GenerationRequest(prompt="a red circle", seed=7).id == "d82bca162127fed1"
    with_picture = GenerationRequest(prompt="a red circle", seed=7, image="0" * 64)
    assert len({with_picture.id, with_picture.model_copy(update={"image": "1" * 64}).id, "d82bca162127fed1"}) == 3


def test_windows_may_be_longer_than_the_model() -> None:
    check_request(ask(num_frames=137, mode="windows"))


def test_adapters_are_checked_against_those_there_are() -> None:
    check_request(ask(adapter="run-1"), adapters=["run-1", "run-2"])
    with pytest.raises(ConfigError, match=r"Unknown adapter 'run1'.*Did you mean 'run-1'\?"):
        check_request(ask(adapter="run1"), adapters=["run-1", "other"])


def test_checking_is_cheap() -> None:
    request = ask()
    began = time.process_time()
    check_request(request)
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("animatediff_lightning", None),
        ("wan21_flf_14b", None),
        ("mini", None),
        ("wan21_vace_1_3b", None),
    ],
)
def test_models_that_runs_cannot_train_say_why(key: str, sentence: str | None) -> None:
    why = why_untrainable(load_preset("models", key))
    assert why is None if sentence is None else sentence in str(why)


def test_a_key_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for kind in ("models", "train", "rewards"):
        with pytest.raises(ConfigError, match="may have up to 200 letters, digits"):
            check_new_key(tmp_path / kind, "a" * 300)
