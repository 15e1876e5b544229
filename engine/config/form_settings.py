"""The trainers' settings as data: what they are called, what they take, and what they say of themselves.

Read from `form_settings.json`, which `python -m tools.docs.trainer_settings` writes from the config classes. Imports no
torch.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from engine.config.setting_ranges import Range
from engine.errors import ConfigError, SettingsError
from engine.suggestions import did_you_mean

FILE = Path(__file__).with_name("form_settings.json")
Kind = Literal["int", "float", "bool", "choice", "text"]
Value = str | bool | int | float | list[str] | list[float] | None


class FormSetting(BaseModel):
    """One field of a trainer's config. `default_of` is who chose the default: Dailies, TRL or transformers.

    `optional` fields may be empty: None, which for a clip's shape means the model's own. `front` ones are seen first.
    `unit` is what the number counts or is measured in, "" for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
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
    """Of a number; None: any."""

    def check(self, value: Any) -> None:
        """Raises SettingsError in one sentence for a value of another type, or one that no trainer can work with."""
        if value == self.default or (value is None and self.optional):
            return
        if self.kind == "choice":
            wrong = [one for one in (value if isinstance(value, list) else [value]) if one not in self.choices]
            if wrong:
                hint = did_you_mean(str(wrong[0])[:40], self.choices)
                raise SettingsError(f"{self.name} = {_shown(wrong[0])} is no choice. {hint}")
            return
        if not isinstance(value, TYPES[self.kind]) or (isinstance(value, bool) and self.kind != "bool"):
            raise SettingsError(f"{self.name} must be {WANTED[self.kind]}, but got {_shown(value)}.")
        if self.kind in ("int", "float") and not (self.range or Range()).holds(value):
            raise SettingsError(
                f"{self.name} = {_shown(value)} will not do: it must be {(self.range or Range()).words}."
            )

    def read(self, typed: Any) -> Value:
        """What somebody typed into a form, as a value. Raises ConfigError in one sentence."""
        words = str(typed if typed is not None else "").strip()
        if not words:
            if self.optional:
                return None
            raise ConfigError(f"{self.name} is empty: give {WANTED[self.kind]}; the default is {self.default}.")
        if self.kind == "choice" and words not in self.choices:
            raise ConfigError(f"{self.name} = '{words[:40]}' is no choice. {did_you_mean(words, self.choices)}")
        try:
            value: Value = READERS[self.kind](words)
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{self.name} must be {WANTED[self.kind]}, but got '{words[:40]}'.") from error
        self.check(value)
        return value


def settings_of(algorithm: str) -> Sequence[FormSetting]:
    """The settings of an algorithm's config, in the form's order. Raises ConfigError for an unknown algorithm."""
    known = _table()
    if algorithm not in known:
        raise ConfigError(f"There are no settings for '{algorithm}'. {did_you_mean(algorithm, known)}")
    return known[algorithm]


def check_settings(algorithm: str, settings: Mapping[str, Any]) -> None:
    """Raises SettingsError in one sentence for the first setting that the algorithm's trainer cannot work with.

    Settings of the libraries that are not listed (see `settings.json`) are left to the trainer's config.
    """
    known = {setting.name: setting for setting in settings_of(algorithm)}
    for name, value in settings.items():
        if name in known:
            known[name].check(value)


def defaults_of(algorithm: str) -> dict[str, Value]:
    return {setting.name: setting.default for setting in settings_of(algorithm)}


@cache
def _table() -> Mapping[str, Sequence[FormSetting]]:
    read = json.loads(FILE.read_text(encoding="utf-8"))
    return {key: tuple(FormSetting(**row) for row in rows) for key, rows in read.items()}


def _whole(words: str) -> int:
    number = float(words)
    if not number.is_integer():
        raise ValueError(words)
    return int(number)


def _number(words: str) -> float:
    number = float(words)
    if not math.isfinite(number):
        raise ValueError(words)
    return number


def _flag(words: str) -> bool:
    return {"true": True, "false": False}[words.lower()] if words.lower() in ("true", "false") else _number(words) != 0


def _shown(value: Any) -> str:
    """A value as its sentence shows it, shortened."""
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


TYPES: dict[Kind, Any] = {"int": int, "float": (int, float), "bool": bool, "text": (str, list), "choice": object}
READERS: dict[Kind, Any] = {"int": _whole, "float": _number, "bool": _flag, "choice": str, "text": str}
WANTED: dict[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "choice": "one of the choices",
    "text": "a text",
}
