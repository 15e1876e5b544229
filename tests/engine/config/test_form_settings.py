"""Invalid settings are refused in one sentence before any work, by one table for all callers."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from engine.config.alarm_settings import AlarmSettings
from engine.config.algorithms import ALGORITHMS
from engine.config.form_settings import check_settings, settings_of
from engine.config.presets import change_preset, load_curriculum, load_train_preset, preset_keys
from engine.config.setting_ranges import RANGES
from engine.errors import ConfigError, SettingsError

NAMES = tuple(ALGORITHMS)
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "seed": (5_000_000_000, 2**32, -1, 1.5, "many", True, None),
    "max_steps": ("many", 0, -2, 10**30, math.inf, 1.5, [3]),
    "learning_rate": ("fast", "1e-4", 0, -1e-4, math.nan, math.inf, 1e9, None),
    "num_frames": (0, -1, 10_001, 16.5, "9", math.nan),
    "width": (8, 100_000, "64"),
    "fps": (0, -8, 1000, math.nan, math.inf),
    "num_steps": (0, 1001),
    "guidance": (-1, 31, math.nan),
    "lora_rank": (-1, 100_000, 2.0),
    "ema_decay": (1.0, -0.1, math.nan),
    "per_device_train_batch_size": (0, -4, 10**9),
    "gradient_accumulation_steps": (0, 1.5),
    "sample_steps": (0, 1001),
    "sample_clips": (-1, 10**6),
    "save_steps": (0, -1, math.nan),
    "gradient_checkpointing": (1, "yes", None),
    "lr_scheduler_type": ("linnear", 3, None),
    "adam_beta1": (1.0, -0.5),
}


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_the_name_and_the_value(algorithm: str, name: str) -> None:
    for value in REFUSED[name]:
        with pytest.raises(SettingsError, match=f"^{name} ") as told:
            check_settings(algorithm, {name: value})
        assert "Traceback" not in str(told.value) and len(str(told.value)) < 600


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(SettingsError, match="^max_steps = a number of thousands of digits is invalid"):
        check_settings("nft", {"max_steps": 10**5000})


@pytest.mark.parametrize("algorithm", NAMES)
def test_defaults_and_limits_are_allowed(algorithm: str) -> None:
    for setting in settings_of(algorithm):
        check_settings(algorithm, {setting.name: setting.default})
        if setting.range is not None and not setting.range.least_out and setting.range.least is not None:
            number = int if setting.kind == "int" else float
            check_settings(algorithm, {setting.name: number(setting.range.least)})


def test_every_number_has_a_range() -> None:
    numbers = {one.name for key in ALGORITHMS for one in settings_of(key) if one.kind in ("int", "float")}
    assert numbers == set(RANGES), "give a new setting its range, and take away that of one that is gone"


def test_presets_are_checked_when_they_are_read_and_changed() -> None:
    with pytest.raises(SettingsError, match="seed = 5000000000 is invalid: it must be 0 to 4,294,967,295"):
        load_train_preset("mini_nft", {"settings": {"seed": 5_000_000_000}})
    with pytest.raises(SettingsError, match="max_steps must be a whole number, but got 'many'"):
        change_preset(load_train_preset("mini_nft"), {"settings": {"max_steps": "many"}})
    for key in preset_keys("train"):
        load_train_preset(key)
    for key in preset_keys("curricula"):
        load_curriculum(key)


@pytest.mark.parametrize("name", ["held_out", "drift", "divergence", "motion"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_json_cannot_hold_is_refused_before_it_is_written(name: str, value: float) -> None:
    """A run's preset is kept as JSON: infinity would come back as nothing, and the preset as damaged."""
    with pytest.raises(ConfigError, match="finite"):
        load_train_preset("mini_nft", {"alarms": {name: value}})
    assert AlarmSettings.model_validate_json(AlarmSettings().model_dump_json()) == AlarmSettings()
