"""Requests that are sent again because their answer was lost: what they ask for is done once.

The page's script (`page.js`) gives each request to Gradio a key of its own and, where no answer comes, sends it again
with the same key. A handler marked by `once` is run for the first of them; the others get its answer. The key is also
given to what is filed or created (`request_key`), whose id follows from it: that holds across a restart of the page.
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

_MARK = "_dailies_once"


def once(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler that changes something. A repeat of its request gets the first one's answer, or its error.

    Of a handler that yields what is shown meanwhile, a repeat gets the last that it yielded.
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
    setattr(marked, _MARK, True)
    return marked


class _Answers:
    """The answers of one handler by the key of the request, the last `KEPT`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: OrderedDict[str, Future[Any]] = OrderedDict()

    def of(self, key: str | None) -> tuple[Future[Any], bool]:
        """The answer, done or still to come, and whether it is the caller who has to find it."""
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
        """Whoever waits for the answer gets the error that is raised instead."""
        try:
            yield
        finally:
            error = sys.exc_info()[1]
            if error is not None and not answer.done():
                answer.set_exception(error)


def changes(handler: Callable[..., Any]) -> bool:
    """Whether a handler, or what it wraps, is marked by `once`."""
    while handler is not None:
        if getattr(handler, _MARK, False):
            return True
        handler = getattr(handler, "__wrapped__", None) or getattr(handler, "__func__", None)  # type: ignore[assignment]
    return False


def request_key(part: str = "") -> str | None:
    """The key of the request that is answered now, None where it has none; `part` names one thing of several."""
    if "gradio.context" not in sys.modules:  # gradio takes seconds to load, and without it there is no request
        return None
    from gradio.context import LocalContext

    request = LocalContext.request.get(None)
    headers = getattr(request, "headers", None) or {}
    key = headers.get(HEADER, "")
    return f"{key} {part}".strip() if isinstance(key, str) and KEY.fullmatch(key) else None
