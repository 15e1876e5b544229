"""Import of Gradio without its stub files.

For each component class, Gradio parses the file of the class and writes a `.pyi` file next to it. That takes half the
time of its import and writes into the installation. It does neither for a class without a file.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

WRITER = "gradio.component_meta"


@contextlib.contextmanager
def without_stub_files() -> Iterator[None]:
    """Let the writer of stub files find no file of the component classes that are defined meanwhile."""
    find = inspect.getfile

    def found(object: Any) -> str:
        if sys._getframe(1).f_globals.get("__name__") == WRITER:
            raise OSError("no stub file is wanted")
        return find(object)

    inspect.getfile = found
    try:
        yield
    finally:
        inspect.getfile = find
