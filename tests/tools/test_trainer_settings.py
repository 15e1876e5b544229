"""The copy of the trainers' settings for the page matches the trainers."""

import pytest

from engine.config.algorithms import ALGORITHMS
from engine.config.form_settings import FILE, FormSetting, settings_of
from engine.errors import ConfigError
from rewards.import_object import import_object
from tools.docs.trainer_settings import described, stored_text


def test_the_table_of_settings_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == stored_text(), "run `make docs`: the trainers' settings changed"
    for key, algorithm in ALGORITHMS.items():
        assert list(settings_of(key)) == described(import_object(algorithm.settings))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_setting_says_what_it_is(algorithm: str) -> None:
    settings = settings_of(algorithm)
    assert all(setting.help and setting.default_of for setting in settings)
    assert any(setting.front for setting in settings)
    names = [setting.name for setting in settings]
    assert len(names) == len(set(names)) and "output_dir" not in names


def setting(**others: object) -> FormSetting:
    return FormSetting(**{"name": "x", "group": "g", "kind": "int", "default_of": "Dailies", "help": "h", **others})


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [("int", " 12 ", 12), ("int", "1e3", 1000), ("float", "3e-4", 3e-4), ("bool", "True", True), ("text", " a ", "a")],
)
def test_what_is_typed_is_read(kind: str, typed: str, value: object) -> None:
    assert setting(kind=kind).read(typed) == value


@pytest.mark.parametrize(
    ("kind", "typed", "complaint"),
    [
        ("int", "1.5", "must be a whole number, but got '1.5'"),
        ("int", "", "x is empty"),
        ("float", "nan", "must be a number, but got 'nan'"),
        ("float", "inf", "must be a number"),
        ("float", "; rm", "must be a number"),
        ("bool", "maybe", "must be true or false"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(kind: str, typed: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        setting(kind=kind).read(typed)


def test_a_choice_is_one_of_the_choices_and_an_optional_one_may_be_empty() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        setting(kind="choice", choices=("linear", "cosine")).read("cosin")
    assert setting(optional=True).read("") is None
