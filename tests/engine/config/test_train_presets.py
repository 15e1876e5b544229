"""Every shipped preset: whole, its settings known, and honest about where its numbers come from."""

import re
from pathlib import Path

import pytest

from engine.config.algorithms import ALGORITHMS
from engine.config.curriculum_preset import Stage
from engine.config.form_settings import settings_of
from engine.config.presets import load_curriculum, load_preset, load_train_preset, preset_keys
from engine.config.prompts import read_prompts
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.estimation.model_forecast import CARDS
from engine.estimation.run_estimate import forecast
from engine.estimation.run_time import run_seconds
from engine.families.registry import family_spec
from engine.training.build import build_config
from engine.training.preflight.checks import longest, speed
from rewards.import_object import import_object

PRESETS = preset_keys("train")


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_is_whole_and_says_where_it_comes_from(key: str) -> None:
    preset = load_train_preset(key)
    assert preset.source and preset.notes, f"{key} says neither where its numbers come from nor what was measured"
    known = {setting.name: setting for setting in settings_of(preset.algorithm)}
    assert preset.settings.keys() <= known.keys()
    for name in preset.settings:
        value = preset.settings[name]
        assert known[name].read(str(value)) == value or isinstance(value, list)


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_asks_for_a_length_that_its_model_can_make(key: str) -> None:
    preset = load_train_preset(key)
    model = load_preset("models", preset.model)
    frames = preset.settings.get("num_frames") or model.num_frames
    assert isinstance(frames, int) and family_spec(model.family).allows_frames(frames) and frames <= model.max_frames


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("dpo_videodpo10k", {"beta": 0.2, "error_scale": 2500.0, "learning_rate": 1e-4, "max_steps": 1000}),
        (
            "grpo_online",
            {
                "learning_rate": 5e-5,
                "max_steps": 300,
                "num_generations": 4,
                "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": 8,
            },
        ),
        ("wan21_dpo_512", {"width": 512, "height": 512, "num_frames": 65, "per_device_train_batch_size": 6}),
        ("wan21_dpo_768", {"width": 768, "height": 768, "num_frames": 49, "per_device_train_batch_size": 2}),
    ],
)
def test_the_first_plans_numbers_stand(key: str, said: dict[str, object]) -> None:
    assert load_train_preset(key).settings.items() >= said.items()


@pytest.mark.parametrize("key", [key for key in PRESETS if load_train_preset(key).algorithm == "dpo"])
def test_dpo_on_a_flow_model_has_a_beta_for_velocities(key: str) -> None:
    """Flow-GRPO's DPO has 100, Flow-Factory's 2000; Diffusion-DPO's 5000 is for the error of the noise."""
    preset = load_train_preset(key)
    family = family_spec(load_preset("models", preset.model).family)
    assert family.prediction == "flow"
    args = build_config(import_object(ALGORITHMS["dpo"].settings), preset.settings, Path("unused"))
    assert 100 <= args.beta_eff(family.prediction) <= 2000


FOR_REAL_MODELS = [key for key in PRESETS if not load_preset("models", load_train_preset(key).model).judge]


@pytest.mark.parametrize("key", FOR_REAL_MODELS)
def test_what_is_said_of_memory_is_what_is_forecast(key: str) -> None:
    preset = load_train_preset(key)
    found = forecast(preset, 80.0)
    assert found is not None and found.memory.high < 80.0
    sizes = re.findall(r"\d+ Gi?B|\d+gb", " ".join((key, preset.title, preset.source, preset.notes)))
    assert sizes in ([], [f"{found.memory.high:.0f} GiB"])


@pytest.mark.parametrize("key", FOR_REAL_MODELS)
def test_a_run_takes_an_h100_a_few_days_at_most(key: str) -> None:
    seconds = run_seconds(load_train_preset(key), CARDS[2])
    assert seconds is not None and seconds < 4 * 86_400


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="algorithm = 'gropo' is invalid: .*the algorithms are dpo, kto, sft, grpo, "):
        load_train_preset("mini_nft", {"algorithm": "gropo"})


def test_every_algorithm_has_a_preset_for_mini() -> None:
    """So that form and command line reach it, and it can be tried without a GPU."""
    tried = {preset.algorithm for preset in map(load_train_preset, PRESETS) if preset.model == "mini"}
    assert tried == set(ALGORITHMS)


@pytest.mark.parametrize("given", ["pairs", "campaign"])
@pytest.mark.parametrize("key", ["mini_nft", "mini_distill"])
def test_pairs_are_for_dpo_alone(key: str, given: str) -> None:
    with pytest.raises(ConfigError, match=f"does not train on pairs: leave {given} out, or choose algorithm dpo"):
        load_train_preset(key, {given: "somewhere"})


def test_no_shipped_curriculum_or_preset_makes_clips_longer_than_its_model_can() -> None:
    """Curricula go over presets' own models; what is longer would only be found out on a GPU."""
    for key in preset_keys("curricula"):
        for stage in load_curriculum(key).stages:
            preset = load_train_preset(stage.preset, stage.changes)
            model = load_preset("models", preset.model)
            frames = family_spec(model.family).nearest_frames(stage.frames or model.min_frames)
            assert frames <= model.max_frames, (key, stage.name)
    for key in preset_keys("train"):
        preset = load_train_preset(key)
        assert not list(longest(preset)), key


def test_clips_longer_than_the_model_was_made_for_are_warned_of() -> None:
    (verdict,) = longest(load_train_preset("wan21_dpo_512", {"settings": {"num_frames": 97}}))
    assert verdict.level == "warning"
    assert "trained on clips of up to 81 frames, and these have 97" in verdict.sentence


def test_clips_of_another_speed_than_generates_are_warned_of() -> None:
    (verdict,) = speed(load_train_preset("grpo_online", {"settings": {"fps": 24.0}}))
    assert verdict.level == "warning"
    assert "made and scored at 24 fps, but Generate makes Wan 2.1 1.3B's at 16" in verdict.sentence
    told = {key: list(speed(load_train_preset(key))) for key in preset_keys("train")}
    (slow,) = told.pop("dpo_videodpo10k")
    assert slow.sentence.startswith("Clips are learnt at 10 fps, but Generate makes Wan 2.1 1.3B's at 16")
    assert not any(told.values())


def test_presets_for_real_models_hold_rewards_out_and_prompts_too() -> None:
    for key in preset_keys("train"):
        preset = load_train_preset(key)
        if load_preset("models", preset.model).judge:
            continue
        assert preset.watch is not None and preset.test_prompts is not None, key
        watched = {name for name, weight in load_preset("rewards", preset.watch).weights.items() if weight > 0}
        trained = load_preset("rewards", preset.mix).weights if preset.mix else {}
        assert watched - set(trained), key
        if preset.prompts:
            assert not set(read_prompts(preset.prompts)) & set(read_prompts(preset.test_prompts)), key


def test_what_is_replayed_on_a_gpu_is_replayed_in_the_batches_that_it_was_made_in() -> None:
    """Other batches round otherwise in bf16, and the ratios would not begin at 1."""
    for key in preset_keys("train"):
        preset = load_train_preset(key)
        if preset.algorithm == "grpo" and load_preset("models", preset.model).dtype == "bfloat16":
            assert preset.settings["rollout_batch"] == preset.settings["per_device_train_batch_size"], key


def test_a_former_name_of_a_setting_is_read() -> None:
    """Runs and presets from before the rename have it; a present name beside it counts."""
    fields = {"key": "one", "title": "One", "algorithm": "nft", "mix": "mini_train", "prompts": "mini_held_out"}
    former = TrainPreset.model_validate({**fields, "settings": {"checkpoint_blocks": True, "max_steps": 2}})
    assert former.settings == {"gradient_checkpointing": True, "max_steps": 2}
    both = {"gradient_checkpointing": False, "checkpoint_blocks": True}
    assert TrainPreset.model_validate({**fields, "settings": both}).settings == {"gradient_checkpointing": False}
    gate = {"conditions": [{"metric": "mix", "at_least": 0.0}]}
    changes = {"settings": {"checkpoint_blocks": True}}
    stage = Stage.model_validate({"name": "one", "preset": "one", "gate": gate, "changes": changes, **changes})
    assert stage.settings == stage.changes["settings"] == {"gradient_checkpointing": True}
