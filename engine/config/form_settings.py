"""The trainers' settings as data: names, types, ranges, defaults and help texts.

Read from `form_settings.json`, which `python -m tools.docs.trainer_settings` writes from the config classes: each
setting once, and what differs in an algorithm. Imports no torch.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from engine.config.setting_ranges import Range
from engine.errors import ConfigError, SettingsError
from rewards.errors import did_you_mean
from rewards.models import FrozenModel

FILE = Path(__file__).with_name("form_settings.json")
Kind = Literal["int", "float", "bool", "choice", "text"]
Value = str | bool | int | float | list[str] | list[float] | None


class FormSetting(FrozenModel):
    """One field of a trainer's config.

    `default_of` is the library that sets the default: Dailies, TRL or transformers. `optional` fields may be None,
    which for a clip's shape means the model's default. `front` fields are shown first. `unit` is the unit of a number,
    "" for none.
    """

    name: str
    label: str = ""
    group: str
    kind: Kind
    choices: tuple[str, ...] = ()
    optional: bool = False
    default: Value = None
    default_of: str
    help: str
    unit: str = ""
    front: bool = False
    range: Range | None = None
    """Valid range of a number; None: any number."""

    def check(self, value: Any) -> None:
        """Raise SettingsError, in one sentence, for a value of the wrong type or outside the range."""
        if value == self.default or (value is None and self.optional):
            return
        if self.kind == "choice":
            values = value if isinstance(value, list) else [value]
            wrong = [item for item in values if item not in self.choices]
            if wrong:
                hint = did_you_mean(str(wrong[0])[:40], self.choices)
                raise SettingsError(f"{self.name} = {_shown(wrong[0])} is not one of the choices. {hint}")
            return
        if not isinstance(value, TYPES[self.kind]) or (isinstance(value, bool) and self.kind != "bool"):
            raise SettingsError(f"{self.name} must be {KIND_NAMES[self.kind]}, but got {_shown(value)}.")
        if self.kind in ("int", "float") and not (self.range or Range()).contains(value):
            raise SettingsError(
                f"{self.name} = {_shown(value)} is invalid: it must be {(self.range or Range()).words}."
            )

    def read(self, typed: Any) -> Value:
        """Convert the text of a form field to a value. Raises ConfigError in one sentence."""
        text = str(typed if typed is not None else "").strip()
        if not text:
            if self.optional:
                return None
            raise ConfigError(f"{self.name} is empty: give {KIND_NAMES[self.kind]}; the default is {self.default}.")
        if self.kind == "choice" and text not in self.choices:
            raise ConfigError(
                f"{self.name} = '{text[:40]}' is not one of the choices. {did_you_mean(text, self.choices)}"
            )
        try:
            value: Value = READERS[self.kind](text)
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{self.name} must be {KIND_NAMES[self.kind]}, but got '{text[:40]}'.") from error
        self.check(value)
        return value


def settings_of(algorithm: str) -> Sequence[FormSetting]:
    """Return the settings of an algorithm's config in form order.

    Raises ConfigError for an unknown algorithm.
    """
    by_algorithm = _table()
    if algorithm not in by_algorithm:
        raise ConfigError(f"There are no settings for '{algorithm}'. {did_you_mean(algorithm, by_algorithm)}")
    return by_algorithm[algorithm]


def check_settings(algorithm: str, settings: Mapping[str, Any]) -> None:
    """Raise SettingsError, in one sentence, for the first invalid setting of an algorithm.

    Library settings that are not listed in `form_settings.json` are left to the trainer's config.
    """
    by_name = {setting.name: setting for setting in settings_of(algorithm)}
    for name, value in settings.items():
        if name in by_name:
            by_name[name].check(value)


def defaults_of(algorithm: str) -> dict[str, Value]:
    """Return the default of every setting of an algorithm."""
    return {setting.name: setting.default for setting in settings_of(algorithm)}


@cache
def _table() -> Mapping[str, Sequence[FormSetting]]:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        key: tuple(FormSetting(name=name, **{**stored["shared"][name], **own}) for name, own in rows.items())
        for key, rows in stored["algorithms"].items()
    }


def _integer(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _number(text) != 0


def _shown(value: Any) -> str:
    """Return a value as shown in a message, shortened."""
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


TYPES: dict[Kind, Any] = {"int": int, "float": (int, float), "bool": bool, "text": (str, list), "choice": object}
READERS: dict[Kind, Any] = {"int": _integer, "float": _number, "bool": _flag, "choice": str, "text": str}
KIND_NAMES: dict[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "choice": "one of the choices",
    "text": "a text",
}
