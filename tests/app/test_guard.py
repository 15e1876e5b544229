"""An error of ours becomes one sentence on the page; any other stays an error."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from fastapi import HTTPException

from app.components.job_queue import Place
from app.events import with_problem, with_toast
from app.views import system
from engine.errors import ConfigError


def test_a_sentence_is_shown_as_text() -> None:
    @with_toast
    def handler() -> None:
        raise ConfigError("Unknown model '<img src=x onerror=alert(1)>'.")

    with pytest.raises(gr.Error) as shown:
        handler()
    assert shown.value.message == "Unknown model &#x27;&lt;img src=x onerror=alert(1)&gt;&#x27;."
    assert shown.value.print_exception is False


def test_a_component_is_told_the_sentence() -> None:
    @with_problem
    def news(job: str) -> None:
        raise ConfigError(f"There is no job {job}.")

    assert news("x") == {"problem": "There is no job x."}


@pytest.mark.parametrize("argument", [None, [], 7, {"id": 7, "to": 1}, {"id": "x"}, {"id": "x", "to": "1"}])
def test_an_argument_that_no_script_sends_is_one_sentence(argument: Any) -> None:
    @with_problem
    def move(where: Place) -> None:
        raise AssertionError

    with pytest.raises(HTTPException) as refused:
        move(argument)
    assert refused.value.status_code == 422 and "load the page again" in refused.value.detail


def test_what_nobody_foresaw_is_not_hidden() -> None:
    def handler(_: object = None) -> None:
        raise ZeroDivisionError

    for wrap in (with_toast, with_problem):
        with pytest.raises(ZeroDivisionError):
            wrap(handler)()


def test_a_handler_keeps_its_name_and_result() -> None:
    @with_toast
    def add(left: int, right: int) -> int:
        return left + right

    assert add(1, right=2) == 3 and add.__name__ == "add"


def test_what_is_shown_meanwhile_is_shown_and_then_the_sentence() -> None:
    def handler() -> Iterator[str]:
        yield "meanwhile"
        raise ConfigError("2 < 3")

    shown = with_toast(handler)()
    assert next(shown) == "meanwhile"
    with pytest.raises(gr.Error) as caught:
        next(shown)
    assert caught.value.message == "2 &lt; 3"


def test_nothing_of_a_table_can_be_pressed_while_it_changes() -> None:
    table = system.table(("a", ""), [system.row("one", "1", action="Clean up", really="Sure?")], "so far")
    busy = system.busy(table, "Cleaning up")
    assert (busy["note"], [one["action"] for one in busy["rows"]]) == ("Cleaning up", [""])
    assert table["rows"][0]["action"] == "Clean up" and busy["rows"][0]["cells"] == ["1"]
    assert system.busy(None, "Measuring") == system.table((), [], "Measuring")
