"""An error of ours becomes one sentence on the page; any other stays an error."""

import gradio as gr
import pytest

from app.guard import guarded, told
from engine.errors import ConfigError


def test_a_sentence_is_shown_as_text() -> None:
    @guarded
    def handler() -> None:
        raise ConfigError("Unknown model '<img src=x onerror=alert(1)>'.")

    with pytest.raises(gr.Error) as shown:
        handler()
    assert shown.value.message == "Unknown model &#x27;&lt;img src=x onerror=alert(1)&gt;&#x27;."
    assert shown.value.print_exception is False


def test_a_component_is_told_the_sentence() -> None:
    @told
    def news(job: str) -> None:
        raise ConfigError(f"There is no job {job}.")

    assert news("x") == {"problem": "There is no job x."}


def test_what_nobody_foresaw_is_not_hidden() -> None:
    def handler() -> None:
        raise ZeroDivisionError

    for wrap in (guarded, told):
        with pytest.raises(ZeroDivisionError):
            wrap(handler)()


def test_a_handler_keeps_its_name_and_result() -> None:
    @guarded
    def add(left: int, right: int) -> int:
        return left + right

    assert add(1, right=2) == 3 and add.__name__ == "add"
