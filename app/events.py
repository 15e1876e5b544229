"""Binding of events and server functions: here alone a DailiesError becomes text on the page."""

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
    """Wrap a handler or generator of outputs so that its DailiesError is shown as a toast."""

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
    """Return a toast; Gradio renders it as HTML, so the sentence is escaped."""
    return gr.Error(html.escape(str(error)), duration=TOAST_S, print_exception=False)


def show_warning(sentence: str) -> None:
    """Show a warning toast, escaped."""
    gr.Warning(html.escape(sentence), title=general.NOTE, duration=TOAST_S)


def show_info(sentence: str) -> None:
    """Show an information toast, escaped."""
    gr.Info(html.escape(sentence), duration=TOAST_S)


def with_problem(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a component's server function so that a DailiesError is returned as `{"problem": sentence}`.

    The argument is validated against the function's annotation. Raises HTTPException 422 if it is invalid.
    """
    argument = next(iter(inspect.signature(function).parameters.values()))
    form: TypeAdapter[Any] = TypeAdapter(Any if argument.annotation is argument.empty else argument.annotation)

    @functools.wraps(function)
    def run(data: Any = None) -> Any:
        try:
            value = form.validate_python(data, strict=True)
        except ValidationError as error:
            raise HTTPException(422, wrong_argument(function.__name__, error)) from error
        try:
            return function(value)
        except DailiesError as error:
            return {"problem": str(error)}

    return run


def wrong_argument(name: str, error: ValidationError) -> str:
    """Describe an invalid argument without repeating its value."""
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
    """Bind a Gradio event with our defaults.

    Errors become toasts; there is no public API, no spinner and no concurrency limit.

    Events of one `line` are handled in order, one at a time: use it for events with the same outputs, so that the last
    request is shown last. Events use Gradio's queue, because only there an error becomes a toast without an error in
    the browser's console.
    """
    settings: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    settings |= {"concurrency_limit": None} if line is None else {"concurrency_limit": 1, "concurrency_id": line}
    return event(with_toast(handler), inputs, outputs, **{**settings, **options})
