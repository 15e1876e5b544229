"""Every shipped recipe: whole, its settings known, and honest about where its numbers come from."""

import pytest

from engine.config.presets import load_preset, load_train_preset, preset_keys
from engine.config.settings import settings_of
from engine.errors import ConfigError
from engine.families import family_spec
from engine.hardware.forecast import forecast

RECIPES = preset_keys("train")
MI300X_GIB = 192.0


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_is_whole_and_says_where_it_comes_from(key: str) -> None:
    preset = load_train_preset(key)
    assert preset.source and preset.notes, f"{key} says neither where its numbers come from nor what was measured"
    known = {setting.name: setting for setting in settings_of(preset.algorithm)}
    library = {"gradient_checkpointing"}  # TRL's own name for checkpoint_blocks
    assert preset.settings.keys() <= known.keys() | library
    for name in preset.settings.keys() & known.keys():
        value = preset.settings[name]
        assert known[name].read(str(value)) == value or isinstance(value, list)


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_asks_for_a_length_that_its_model_can_make(key: str) -> None:
    preset = load_train_preset(key)
    model = load_preset("models", preset.model)
    frames = preset.settings.get("num_frames") or model.num_frames
    assert isinstance(frames, int) and family_spec(model.family).allows_frames(frames) and frames <= model.max_frames


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("dpo_videodpo10k", {"beta": 0.2, "learning_rate": 1e-4, "max_steps": 1000}),
        (
            "grpo_online",
            {
                "learning_rate": 5e-5,
                "max_steps": 5000,
                "num_generations": 4,
                "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": 8,
            },
        ),
        ("mi300x_conservative", {"width": 512, "height": 512, "num_frames": 65, "per_device_train_batch_size": 6}),
        ("mi300x_aggressive", {"width": 768, "height": 768, "num_frames": 49, "per_device_train_batch_size": 2}),
    ],
)
def test_the_first_plans_numbers_stand(key: str, said: dict[str, object]) -> None:
    assert load_train_preset(key).settings.items() >= said.items()


@pytest.mark.parametrize("key", ["mi300x_conservative", "mi300x_aggressive", "starter_192gb"])
def test_what_is_meant_for_192_gb_is_foretold_to_fit_there(key: str) -> None:
    found = forecast(load_train_preset(key), MI300X_GIB)
    assert found is not None and found.verdict == "fits"


@pytest.mark.parametrize("given", ["pairs", "campaign"])
@pytest.mark.parametrize("key", ["mini_nft", "mini_distill"])
def test_pairs_are_for_dpo_alone(key: str, given: str) -> None:
    with pytest.raises(ConfigError, match=f"learns from no pairs: leave {given} out, or choose algorithm dpo"):
        load_train_preset(key, {given: "somewhere"})
