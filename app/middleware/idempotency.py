"""Idempotency of requests that are sent again because their answer was lost.

The page's script gives each request to Gradio a key and, without an answer, sends it again with the same key. A handler
marked by `once` runs for the first request only; repeats get its answer. Ids of created jobs and objects are derived
from the key (`request_key`), so this also holds across a restart of the server.
"""

import functools
import inspect
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

HEADER = "idempotency-key"
KEY = re.compile(r"[0-9A-Za-z-]{8,64}")
KEPT = 256  # answers; a request is sent again within seconds

MARK = "_dailies_once"


def once(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler that changes state. A repeated request gets the answer or the error of the first one.

    For a generator, a repeated request gets the last value that it yielded.
    """
    answers = _Answers()

    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:
        answer, is_first = answers.of(request_key())
        if is_first:
            with answers.settling(answer):
                answer.set_result(handler(*args, **kwargs))
        return answer.result()

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        answer, is_first = answers.of(request_key())
        if is_first:
            shown = None
            with answers.settling(answer):
                for shown in handler(*args, **kwargs):
                    yield shown
                answer.set_result(shown)
        yield answer.result()

    marked = stream if inspect.isgeneratorfunction(handler) else run
    setattr(marked, MARK, True)
    return marked


class _Answers:
    """The last `KEPT` answers of one handler, by the key of the request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: OrderedDict[str, Future[Any]] = OrderedDict()

    def of(self, key: str | None) -> tuple[Future[Any], bool]:
        """Return the answer, pending or done, and True if the caller must compute it."""
        if key is None:
            return Future(), True
        with self._lock:
            if key in self._of:
                return self._of[key], False
            while len(self._of) >= KEPT and next(iter(self._of.values())).done():
                self._of.popitem(last=False)
            return self._of.setdefault(key, Future()), True

    @contextmanager
    def settling(self, answer: Future[Any]) -> Iterator[None]:
        """Pass an error that is raised inside the block on to all requests that wait for the answer."""
        try:
            yield
        finally:
            error = sys.exc_info()[1]
            if error is not None and not answer.done():
                answer.set_exception(error)


def request_key(part: str = "") -> str | None:
    """Return the key of the current request or None; `part` distinguishes several created objects."""
    if "gradio.context" not in sys.modules:  # gradio takes seconds to load, and without it there is no request
        return None
    from gradio.context import LocalContext

    request = LocalContext.request.get(None)
    headers = getattr(request, "headers", None) or {}
    key = headers.get(HEADER, "")
    return f"{key} {part}".strip() if isinstance(key, str) and KEY.fullmatch(key) else None
