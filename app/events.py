"""Where an error of ours becomes a sentence on the page: the only place, for every event and every server function."""

import functools
import html
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio.components.base import Component
from pydantic import TypeAdapter, ValidationError

from app.text import access, general
from engine.errors import DailiesError

TOAST_S = 12.0


def with_toast(handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler`, whose DailiesError is shown as it is; also of one that yields what is shown meanwhile."""

    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except DailiesError as error:
            raise _toast(error) from error

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except DailiesError as error:
            raise _toast(error) from error

    return stream if inspect.isgeneratorfunction(handler) else run


def _toast(error: DailiesError) -> gr.Error:
    """Gradio reads a toast as HTML, so the sentence is escaped."""
    return gr.Error(html.escape(str(error)), duration=TOAST_S, print_exception=False)


def show_warning(sentence: str) -> None:
    """Show a sentence that stops nothing; escaped, as an error is."""
    gr.Warning(html.escape(sentence), title=general.NOTE, duration=TOAST_S)


def show_info(sentence: str) -> None:
    """Say what was done; escaped, as an error is."""
    gr.Info(html.escape(sentence), duration=TOAST_S)


def with_problem(function: Callable[..., Any]) -> Callable[..., Any]:
    """A server function of a component, whose DailiesError comes back as `{"problem": sentence}`, shown as text.

    Its argument is checked against the function's annotation before it is called. Raises HTTPException 422 for an
    argument that no script of ours sends.
    """
    argument = next(iter(inspect.signature(function).parameters.values()))
    form: TypeAdapter[Any] = TypeAdapter(Any if argument.annotation is argument.empty else argument.annotation)

    @functools.wraps(function)
    def run(asked: Any = None) -> Any:
        try:
            value = form.validate_python(asked, strict=True)
        except ValidationError as error:
            raise HTTPException(422, wrong_argument(function.__name__, error)) from error
        try:
            return function(value)
        except DailiesError as error:
            return {"problem": str(error)}

    return run


def wrong_argument(name: str, error: ValidationError) -> str:
    """What is wrong with an argument, without the argument."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:40] for part in first["loc"][:3])
    return access.WRONG_ARGUMENT.format(name=name, what=f"{place}: {first['msg']}" if place else first["msg"])


def bind(
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Component] | Component | None = None,
    outputs: Sequence[Any] | Any | None = None,
    *,
    line: str | None = None,
    **options: Any,
) -> Any:
    """Bind an event the way that this page does it: guarded, no public API, no spinner, nobody waits for another.

    Events of one `line` are answered one after another, as they came: for those that fill the same outputs, of which
    the last one asked must be the last one shown. Events go through Gradio's queue because only there an error becomes
    a toast without an error in the console.
    """
    settings: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    settings |= {"concurrency_limit": None} if line is None else {"concurrency_limit": 1, "concurrency_id": line}
    return event(with_toast(handler), inputs, outputs, **{**settings, **options})
